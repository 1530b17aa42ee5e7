/**
 * The daemon: builds the real outside world, wires the rooms together and serves HTTP on its socket. As
 * `bangerd doctor` it looks at the host and prints what it finds as JSON. The executable's other roles are
 * `lib/daemon/relay_program.ts`.
 */
import { takeBuildStamp } from "./lib/base/build.ts";
import type { Self } from "./lib/daemon/daemon_main.ts";

// Bundles of their own lie beside the one that this becomes: see scripts/permissions.ts.
const [role] = takeBuildStamp(Deno.args).args;
if (role === "relay" || role === "offer-frames") {
  await import(new URL("./relay/relay_program.js", import.meta.url).href);
}

const { runProgram } = await import("./lib/sys/program.ts");
await runProgram(async ({ host, build, args, executable, onSignal }) => {
  const self = {
    pid: Deno.pid,
    uid: Deno.uid() ?? 0,
    executable,
    architecture: Deno.build.arch,
    decompressWorkerUrl: new URL("./decompress_worker/decompress_worker.js", import.meta.url).href,
    environment: (name) => Deno.env.get(name),
    onSignal,
  } satisfies Self;
  if (role === "doctor") {
    const { doctorMain } = await import("./lib/daemon/doctor_main.ts");
    const findings = await doctorMain(host, build, self, args.slice(1));
    await new Blob([JSON.stringify(findings)]).stream().pipeTo(Deno.stdout.writable);
  } else {
    const { daemonMain } = await import("./lib/daemon/daemon_main.ts");
    await daemonMain(host, build, self);
  }
});
