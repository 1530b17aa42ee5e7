/**
 * What `banger` begins with. Only its version is said here: installers and upgrades ask for it to learn whether an
 * executable runs at all, and to read the whole program takes as long as to start. All else is `main.ts`, a bundle
 * beside this one.
 */
import { takeBuildStamp, versionLine } from "../base/build.ts";

/** @returns whether that was all that was asked for, and could be said */
function sayVersion(): boolean {
  const { build, args } = takeBuildStamp(Deno.args);
  if (args.length !== 1 || args[0] !== "version") return false;
  const line = new TextEncoder().encode(`${versionLine(build)}\n`);
  try {
    return Deno.stdout.writeSync(line) === line.length;
  } catch {
    return false; // main.ts tries again, and says what is wrong
  }
}

if (sayVersion()) Deno.exit(0);
await import(new URL("./banger_main.js", import.meta.url).href);
