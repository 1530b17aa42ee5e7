/** A host on which KVM works and `firecracker` is there: the real one, but for what tells so, and the fake. */
import type { Host } from "../../../lib/base/host.ts";

const FAKE = new URL("fake_firecracker.ts", import.meta.url).pathname;
const CPU_INFO = "processor\t: 0\nflags\t\t: fpu vmx sse2\n";

const FIRECRACKER = "/opt/firecracker";
/** A jailer's program, for `FirecrackerDriverOptions`: played by fake_jailer.py. */
export const FAKE_JAILER = "/opt/jailer";
const PLAYED = [Deno.execPath(), "run", "--allow-all", "--no-check", FAKE];
const PLAYED_JAILER = ["python3", new URL("fake_jailer.py", import.meta.url).pathname, ...PLAYED, "---"];

/** `firecracker` is the fake; everything else is real. */
export function withFakeFirecracker(real: Host, version = "v1.16.1"): Host {
  return {
    ...real,
    processes: {
      ...real.processes,
      which: (program) =>
        program === "firecracker" || program === FIRECRACKER
          ? Promise.resolve(FIRECRACKER)
          : real.processes.which(program),
      run: (command, options) =>
        command.program === FIRECRACKER
          ? Promise.resolve({
            code: 0,
            stdout: `Firecracker ${version}\n\nSupported snapshot…\n`,
            stderr: "",
          })
          : real.processes.run(command, options),
      // Maybe as another program's last words: one that makes its namespace first.
      startDetached(command, logPath) {
        const words = [command.program, ...command.args];
        const played = (word: string, index: number) =>
          word === FAKE_JAILER
            ? PLAYED_JAILER
            : word === FIRECRACKER && words[index - 1] !== "--exec-file"
            ? PLAYED
            : [word];
        const [program, ...args] = words.flatMap(played);
        return real.processes.startDetached({ ...command, program: program!, args }, logPath);
      },
    },
  };
}

/** As far as /proc and /dev tell. */
export function withKvm(real: Host): Host {
  const close = () => {};
  return {
    ...real,
    files: {
      ...real.files,
      readText: (path, maxBytes) =>
        path === "/proc/cpuinfo" ? Promise.resolve(CPU_INFO) : real.files.readText(path, maxBytes),
      stat: (path) => path === "/dev/kvm" ? Promise.resolve({} as never) : real.files.stat(path),
      open: (path, options) =>
        path === "/dev/kvm" ? Promise.resolve({ close } as never) : real.files.open(path, options),
    },
  };
}
