/** What `bangerd` begins with: a relay does without reading the whole daemon, a bundle beside this one. */
import { takeBuildStamp } from "../base/build.ts";

const [role] = takeBuildStamp(Deno.args).args;
const isRelay = role === "relay" || role === "offer-frames";
await import(new URL(isRelay ? "./relay.js" : "./bangerd_main.js", import.meta.url).href);
