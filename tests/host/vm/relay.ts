/** `bangerd relay` and `bangerd offer-frames`, without the rest of the daemon: starts faster. */
import { relayMain } from "../../../lib/daemon/relay_main.ts";
import { realHost } from "../../../lib/sys/host.ts";
import { stderrLog } from "../../../lib/sys/log.ts";

const host = realHost({ log: stderrLog() });
const self = [Deno.execPath(), "run", "-A", "--no-check", "--unstable-net", import.meta.filename!];
if (Deno.args[0] === "relay") await relayMain(host, Deno.args.slice(1), self, Deno.addSignalListener);
else await host.network.offerFrames(Deno.args[1] ?? "", Deno.args[2] ?? "");
Deno.exit(0);
