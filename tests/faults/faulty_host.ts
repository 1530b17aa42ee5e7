import type { Files, Host, Processes, RandomAccessFile, Sockets } from "../../lib/base/host.ts";
import { temporaryName } from "../../lib/base/temporary_names.ts";
import type { Gate } from "./gate.ts";

/**
 * A host whose every effect passes the gate. Looks at processes and clocks do not: they cannot fail for want of
 * anything, and polling would drown the rest.
 */
export function faultyHost(host: Host, gate: Gate): Host {
  return {
    ...host,
    files: faultyFiles(host.files, gate),
    processes: faultyProcesses(host.processes, gate),
    sockets: faultySockets(host.sockets, gate),
  };
}

/** Names of effects that only look. They can fail, but a kill there differs from none before it. */
export const LOOKS = ["read", "list", "look at", "open for reading", "connect to"];

function faultyFiles(files: Files, gate: Gate): Files {
  return {
    ...files,
    readBytes: (path, max) => gate.pass("read", path, () => files.readBytes(path, max)),
    readText: (path, max) => gate.pass("read", path, () => files.readText(path, max)),
    list: (path) => gate.pass("list", path, () => files.list(path)),
    stat: (path) => gate.pass("look at", path, () => files.stat(path)),
    freeBytes: (path) => gate.pass("look at the space of", path, () => files.freeBytes(path)),
    writeAtomic: (path, content, mode) =>
      gate.pass("write", path, () => files.writeAtomic(path, content, mode), halfWritten(path, content)),
    replace: (path, content, mode) =>
      gate.pass("write", path, () => files.replace(path, content, mode), halfWritten(path, content)),
    sync: (path) => gate.pass("sync", path, () => files.sync(path)),
    makeDirectory: (path, mode) => gate.pass("make directory", path, () => files.makeDirectory(path, mode)),
    remove: (path) =>
      gate.pass("remove", path, () => files.remove(path), { half: () => removeSome(files, path) }),
    rename: (from, to) => gate.pass("rename to", to, () => files.rename(from, to)),
    reflink: (from, to) => gate.pass("reflink", to, () => files.reflink(from, to)),
    copySparse: (from, to) => gate.pass("copy to", to, () => files.copySparse(from, to)),
    lock: (path) => gate.pass("lock", path, () => files.lock(path)),
    tryLock: (path) => gate.pass("lock", path, () => files.tryLock(path)),
    open: async (path, options) => {
      const isWritten = options.write || options.append;
      const verb = isWritten ? "open for writing" : "open for reading";
      const file = await gate.pass(verb, path, () => files.open(path, options));
      return isWritten ? faultyFile(file, path, gate) : file;
    },
  };
}

/** What a write that is cut off leaves. */
function halfWritten(path: string, content: Uint8Array | string) {
  return { half: () => Deno.writeTextFile(temporaryName(path, "0badcafe"), String(content).slice(0, 20)) };
}

/** A directory that is half removed. */
async function removeSome(files: Files, path: string): Promise<void> {
  const names = (await files.stat(path))?.kind === "directory" ? await files.list(path) : [];
  for (const name of names.slice(0, Math.ceil(names.length / 2))) await files.remove(`${path}/${name}`);
}

function faultyFile(file: RandomAccessFile, path: string, gate: Gate): RandomAccessFile {
  return {
    readAt: (buffer, offset) => file.readAt(buffer, offset),
    writeAt: (bytes, offset) =>
      gate.pass("write into", path, () => file.writeAt(bytes, offset), {
        half: () => file.writeAt(bytes.subarray(0, bytes.length >> 1), offset),
      }),
    truncate: (size) => gate.pass("resize", path, () => file.truncate(size)),
    sizeBytes: () => file.sizeBytes(),
    sync: () => gate.pass("sync", path, () => file.sync()),
    close: () => file.close(),
    [Symbol.asyncDispose]: () => file[Symbol.asyncDispose](),
  };
}

function faultyProcesses(processes: Processes, gate: Gate): Processes {
  const program = (path: string) => path.slice(path.lastIndexOf("/") + 1);
  return {
    ...processes,
    run: (command, options) =>
      gate.pass("run", program(command.program), () => processes.run(command, options), {
        exits: () => Promise.resolve({ code: 1, stdout: "", stderr: "it ended (made up)" }),
      }),
    pipe: (command, signal) =>
      gate.pass("run", program(command.program), () => processes.pipe(command, signal), {
        exits: () => processes.pipe({ program: "false", args: [] }, signal),
      }),
    startInBackground: (command, log) =>
      gate.pass("start", program(command.program), () => processes.startInBackground(command, log)),
    startDetached: (command, log) =>
      gate.pass("start", program(command.program), () => processes.startDetached(command, log), {
        exits: () => processes.startDetached({ program: "false", args: [] }, log),
      }),
    findByCommandLine: (fragment) =>
      gate.pass("find processes of", fragment, () => processes.findByCommandLine(fragment)),
    signal: (identity, name) =>
      gate.pass(name, program(identity.executable), () => processes.signal(identity, name)),
  };
}

function faultySockets(sockets: Sockets, gate: Gate): Sockets {
  return {
    ...sockets,
    connectUnix: (path) => gate.pass("connect to", path, () => sockets.connectUnix(path)),
    removeStaleSocket: (path) => gate.pass("remove a stale", path, () => sockets.removeStaleSocket(path)),
  };
}
