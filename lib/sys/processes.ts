import { BangerError, reasonOf } from "../base/errors.ts";
import type {
  BackgroundProcess,
  Clock,
  CommandLine,
  FoundProcess,
  PipedProcess,
  Processes,
  ProcessIdentity,
  RunOptions,
  RunResult,
} from "../base/host.ts";
import { checked, errno, libc, SYS_PIDFD_OPEN, SYS_PIDFD_SEND_SIGNAL } from "./libc.ts";
import { readKernelText } from "./kernel_files.ts";
import { osError, SystemCallError, systemCode } from "./os_errors.ts";
import { findProcess, identifyProcess, residentBytes } from "./process_identity.ts";

const DEFAULT_MAX_OUTPUT_BYTES = 1024 * 1024;
const PIPED_STDERR_BYTES = 64 * 1024;
/** Not on every user's PATH, and tools that banger calls live there. */
const SYSTEM_DIRECTORIES = ["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/local/bin", "/usr/bin", "/bin"];
const SIGNAL_NUMBERS = { SIGINT: 2n, SIGKILL: 9n, SIGTERM: 15n } as const;
const ESRCH = 3;
const MAX_COMMAND_LINE_BYTES = 4 * 1024 * 1024;

export function systemProcesses(clock: Clock): Processes {
  return {
    architecture: Deno.build.arch,
    run,
    pipe,
    inherit,
    startInBackground,
    startDetached: (command, logPath) => startDetached(clock, command, logPath),
    identify: identifyProcess,
    isAlive: (identity) => Promise.resolve().then(() => findProcess(identity) !== undefined),
    cpuTimeMs: (identity) => Promise.resolve().then(() => findProcess(identity)?.cpuTimeMs),
    memoryBytes: (identity) => Promise.resolve().then(() => residentBytes(identity)),
    signal: (identity, name) => Promise.resolve().then(() => signal(identity, name)),
    findByCommandLine,
    waitForExit: (identity, timeoutMs) => waitForExit(clock, identity, timeoutMs),
    which,
  };
}

async function which(program: string): Promise<string | undefined> {
  const directories = [...(Deno.env.get("PATH") ?? "").split(":"), ...SYSTEM_DIRECTORIES];
  const candidates = program.includes("/")
    ? [program]
    : directories.filter(Boolean).map((dir) => `${dir}/${program}`);
  for (const path of candidates) {
    const info = await Deno.stat(path).catch(() => undefined);
    if (info?.isFile && (info.mode ?? 0) & 0o111) return path;
  }
  return undefined;
}

/** @throws {BangerError} `missing_tool` */
async function findProgram(command: CommandLine): Promise<string> {
  const path = await which(command.program);
  if (path) return path;
  throw new BangerError(
    "missing_tool",
    `Cannot run ${command.program}: it is not installed`,
    `Install the package that has ${command.program} with your distribution's package manager`,
  );
}

function denoCommand(program: string, command: CommandLine, options: Deno.CommandOptions): Deno.Command {
  return new Deno.Command(program, {
    args: [...command.args],
    ...(command.cwd === undefined ? {} : { cwd: command.cwd }),
    env: { ...command.env },
    clearEnv: command.clearEnv ?? false,
    ...options,
  });
}

function spawn(program: string, command: CommandLine, options: Deno.CommandOptions): Deno.ChildProcess {
  try {
    return denoCommand(program, command, options).spawn();
  } catch (thrown) {
    throw osError(`run ${command.program}`, thrown);
  }
}

async function run(command: CommandLine, options: RunOptions = {}): Promise<RunResult> {
  const program = await findProgram(command);
  const timeout = options.timeoutMs === undefined ? undefined : AbortSignal.timeout(options.timeoutMs);
  const signals = [options.signal, timeout].filter((signal) => signal !== undefined);
  const maxBytes = options.maxOutputBytes ?? DEFAULT_MAX_OUTPUT_BYTES;
  for (const signal of signals) signal.throwIfAborted();
  const child = spawn(program, command, {
    stdin: options.stdin ? "piped" : "null",
    stdout: "piped",
    stderr: "piped",
  });
  const stop = () => killChild(child);
  for (const signal of signals) signal.addEventListener("abort", stop, { once: true });
  try {
    const [stdout, stderr, status] = await Promise.all([
      keep(child.stdout, maxBytes, "start"),
      keep(child.stderr, maxBytes, "end"),
      child.status,
      options.stdin ? feed(child.stdin, options.stdin) : undefined,
    ]);
    options.signal?.throwIfAborted();
    if (timeout?.aborted) {
      throw new BangerError(
        "internal",
        `Cannot finish ${command.program}: it took over ${options.timeoutMs} ms`,
      );
    }
    return { code: status.code, stdout, stderr };
  } finally {
    for (const signal of signals) signal.removeEventListener("abort", stop);
  }
}

async function pipe(
  command: CommandLine,
  signal?: AbortSignal,
  stdin?: AsyncIterable<Uint8Array>,
): Promise<PipedProcess> {
  const program = await findProgram(command);
  signal?.throwIfAborted();
  const child = spawn(program, command, {
    stdin: stdin ? "piped" : "null",
    stdout: "piped",
    stderr: "piped",
  });
  const stop = () => killChild(child);
  signal?.addEventListener("abort", stop, { once: true });
  const feeding = stdin && feedFrom(child, stdin);
  const result = Promise.all([child.status, keep(child.stderr, PIPED_STDERR_BYTES, "end"), feeding])
    .then(([status, stderr]) => ({ code: status.code, stderr }))
    .finally(() => signal?.removeEventListener("abort", stop));
  return { stdout: child.stdout, result };
}

/** Ctrl-C goes to the whole foreground group: the child decides what it means, we wait for it. */
async function inherit(command: CommandLine): Promise<number> {
  const program = await findProgram(command);
  const ignore = () => {};
  Deno.addSignalListener("SIGINT", ignore);
  try {
    const child = spawn(program, command, { stdin: "inherit", stdout: "inherit", stderr: "inherit" });
    return (await child.status).code;
  } finally {
    Deno.removeSignalListener("SIGINT", ignore);
  }
}

function killChild(child: Deno.ChildProcess): void {
  try {
    child.kill("SIGTERM");
  } catch (thrown) {
    if (!(thrown instanceof TypeError)) throw thrown; // "already terminated" is a TypeError: what was wanted
  }
}

async function feed(stdin: WritableStream<Uint8Array>, bytes: Uint8Array): Promise<void> {
  const writer = stdin.getWriter();
  try {
    await writer.write(bytes);
    await writer.close();
  } catch (thrown) {
    if (systemCode(thrown) !== "EPIPE") throw thrown; // the program needs no more input
  }
}

/** Where the source fails, the child is ended: it must not take what came so far for all. */
async function feedFrom(child: Deno.ChildProcess, source: AsyncIterable<Uint8Array>): Promise<void> {
  const writer = child.stdin.getWriter();
  try {
    for await (const chunk of source) await writer.write(chunk);
    await writer.close();
  } catch (thrown) {
    await writer.abort(thrown).catch(() => {}); // it is closed already, or broken: as wanted
    if (systemCode(thrown) === "EPIPE") return; // the program needs no more input
    killChild(child);
    throw thrown;
  }
}

/** Reads to the end, keeping at most `maxBytes` of the given side. */
async function keep(
  stream: ReadableStream<Uint8Array>,
  maxBytes: number,
  side: "start" | "end",
): Promise<string> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of stream) {
    if (side === "start" && length >= maxBytes) continue;
    chunks.push(chunk);
    length += chunk.length;
    while (side === "end" && length - chunks[0]!.length >= maxBytes) length -= chunks.shift()!.length;
  }
  const bytes = new Uint8Array(length);
  let at = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, at);
    at += chunk.length;
  }
  const kept = side === "start"
    ? bytes.subarray(0, maxBytes)
    : bytes.subarray(Math.max(0, length - maxBytes));
  return new TextDecoder().decode(kept);
}

/** Keeps its pid through setsid and sh, so that the child of ours is the program itself. */
const DETACHED_SCRIPT = 'log=$1; shift; exec "$@" </dev/null >>"$log" 2>&1';

async function startInBackground(command: CommandLine, logPath: string): Promise<BackgroundProcess> {
  const program = await findProgram(command);
  const detached: CommandLine = {
    ...command,
    program: "setsid",
    args: ["sh", "-c", DETACHED_SCRIPT, "sh", logPath, program, ...command.args],
  };
  const child = spawn(await findProgram(detached), detached, {
    stdin: "null",
    stdout: "null",
    stderr: "null",
  });
  child.unref();
  let exitCode: number | undefined;
  void child.status.then(({ code }) => exitCode = code);
  return { pid: child.pid, exitCode: () => exitCode };
}

async function startDetached(clock: Clock, command: CommandLine, logPath: string): Promise<ProcessIdentity> {
  const child = await startInBackground(command, logPath);
  for (let waitMs = 1;; waitMs = Math.min(waitMs * 2, 20)) {
    // Not setsid or its shell any more: the program itself, or what that has become since.
    const words = commandLine(child.pid);
    if (words !== undefined && words !== "" && !words.includes(DETACHED_SCRIPT)) {
      const identity = await identifyProcess(child.pid);
      if (identity) return identity;
    }
    const exitCode = child.exitCode();
    if (exitCode !== undefined) {
      throw new BangerError(
        "host_unsupported",
        `Cannot start ${command.program}: it ended at once with code ${exitCode}`,
        `See ${logPath}`,
      );
    }
    await clock.sleep(waitMs);
  }
}

async function findByCommandLine(fragment: string): Promise<FoundProcess[]> {
  const found: FoundProcess[] = [];
  for await (const { name } of Deno.readDir("/proc")) {
    const pid = Number(name);
    if (!Number.isInteger(pid) || pid === Deno.pid) continue;
    const info = await Deno.stat(`/proc/${pid}`).catch(() => undefined);
    if (info?.uid !== Deno.uid()) continue;
    const line = commandLine(pid);
    if (!line?.includes(fragment)) continue;
    const identity = await identifyProcess(pid);
    if (identity) found.push({ ...identity, commandLine: line });
  }
  return found;
}

/** Arguments, each ended by a NUL. @returns undefined where the process is gone */
function commandLine(pid: number): string | undefined {
  try {
    return readKernelText(`/proc/${pid}/cmdline`, MAX_COMMAND_LINE_BYTES);
  } catch (thrown) {
    const code = systemCode(thrown);
    if (code === "ENOENT" || code === "ESRCH") return undefined;
    throw osError(`look at process ${pid}`, thrown);
  }
}

function signal(identity: ProcessIdentity, name: keyof typeof SIGNAL_NUMBERS): boolean {
  const { syscall, close } = libc();
  const opened = syscall(SYS_PIDFD_OPEN, BigInt(identity.pid), 0n, 0n, 0n);
  if (opened < 0n) {
    if (errno() === ESRCH) return false;
    throw osError(`signal process ${identity.pid}`, new SystemCallError("pidfd_open", errno()));
  }
  const descriptor = Number(opened);
  try {
    // Checked after the pidfd is held: from here on the pid cannot come to mean another process.
    if (!findProcess(identity)) return false;
    const sent = syscall(SYS_PIDFD_SEND_SIGNAL, opened, SIGNAL_NUMBERS[name], 0n, 0n);
    if (sent < 0n && errno() === ESRCH) return false;
    checked("pidfd_send_signal", sent);
    return true;
  } catch (thrown) {
    throw osError(`signal process ${identity.pid} (${reasonOf(identity.executable)})`, thrown);
  } finally {
    close(descriptor);
  }
}

async function waitForExit(clock: Clock, identity: ProcessIdentity, timeoutMs: number): Promise<boolean> {
  const deadlineMs = clock.monotonicMs() + timeoutMs;
  for (let waitMs = 2;; waitMs = Math.min(waitMs * 2, 50)) {
    if (!findProcess(identity)) return true;
    if (clock.monotonicMs() >= deadlineMs) return false;
    await clock.sleep(waitMs);
  }
}
