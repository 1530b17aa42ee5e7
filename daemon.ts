/**
 * The daemon: builds the real outside world, wires the rooms together and serves HTTP on its socket.
 * As `bangerd relay` the same executable is the small process beside one machine; as `bangerd offer-frames` it
 * hands the relay the network card of a machine in a namespace of its own; as `bangerd doctor` it looks at the host
 * and prints what it finds as JSON.
 */
import { takeBuildStamp } from "./lib/base/build.ts";
import { BangerError, firstFailure, reasonOf } from "./lib/base/errors.ts";
import type { LogLevel } from "./lib/base/host.ts";
import type { Self } from "./lib/daemon/daemon_main.ts";
import { raiseDescriptorLimit } from "./lib/sys/descriptor_limit.ts";
import { realHost } from "./lib/sys/host.ts";
import { stderrLog } from "./lib/sys/log.ts";

const LOG_LEVELS: readonly LogLevel[] = ["debug", "info", "warn", "error"];

function logLevel(): LogLevel {
  const wanted = Deno.env.get("BANGER_LOG_LEVEL");
  return LOG_LEVELS.find((level) => level === wanted) ?? "info";
}

/** The starter reads the last line to tell the user why. */
function printFailure(thrown: unknown): number {
  const first = firstFailure(thrown);
  const error = first instanceof BangerError
    ? first
    : new BangerError("internal", `Cannot run the daemon: ${reasonOf(first)}`, undefined, { cause: first });
  stderrLog()("error", "the daemon ended", { thrown: first, error: error.toBody() });
  return error.exitCode;
}

const { build, args } = takeBuildStamp(Deno.args);
const host = realHost({ log: stderrLog(logLevel()) });
const self = {
  pid: Deno.pid,
  uid: Deno.uid() ?? 0,
  executable: Deno.execPath(),
  architecture: Deno.build.arch,
  // Beside the bundle that this becomes: inside the executable.
  decompressWorkerUrl: new URL("./decompress_worker.js", import.meta.url).href,
  environment: (name) => Deno.env.get(name),
  onSignal: (signal, handler) => Deno.addSignalListener(signal, handler),
} satisfies Self;
// All VMs' ports, sessions and operations hang on this process: a failure that nobody waited for is only told.
globalThis.addEventListener("unhandledrejection", (event) => {
  event.preventDefault();
  host.log("error", "a failure that nobody waited for", { failure: event.reason });
});
try {
  raiseDescriptorLimit();
  // Imported when chosen: the relay must stay small, and each machine has one.
  if (args[0] === "relay") {
    const { relayMain } = await import("./lib/daemon/relay_main.ts");
    await relayMain(host, args.slice(1), [self.executable], Deno.addSignalListener);
  } else if (args[0] === "offer-frames") {
    await host.network.offerFrames(args[1] ?? "", args[2] ?? "");
  } else if (args[0] === "doctor") {
    const { doctorMain } = await import("./lib/daemon/doctor_main.ts");
    const findings = await doctorMain(host, build, self, args.slice(1));
    await new Blob([JSON.stringify(findings)]).stream().pipeTo(Deno.stdout.writable);
  } else {
    const { daemonMain } = await import("./lib/daemon/daemon_main.ts");
    await daemonMain(host, build, self);
  }
  Deno.exit(0);
} catch (thrown) {
  Deno.exit(printFailure(thrown));
}
