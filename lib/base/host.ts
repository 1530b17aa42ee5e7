/**
 * The outside world as interfaces. `lib/sys` implements them; rooms take the narrow part they need as
 * a plain parameter (`Pick<Host, "clock" | "files">`), tests pass fakes or the real ones.
 */
import type { Architecture } from "./architecture.ts";
import type { ErrorBody } from "./errors.ts";
import type { Network } from "./network.ts";

export interface Host {
  readonly clock: Clock;
  readonly files: Files;
  readonly processes: Processes;
  readonly sockets: Sockets;
  readonly network: Network;
  readonly log: Log;
}

export interface Clock {
  /** Milliseconds since 1970 (wall clock). */
  now(): number;
  /** Milliseconds on a clock that never jumps. */
  monotonicMs(): number;
  /** @throws the signal's reason when it fires first */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}

export interface FileStat {
  readonly kind: "file" | "directory" | "symlink" | "other";
  readonly sizeBytes: number;
  /** What it takes on the disk: holes do not count. */
  readonly allocatedBytes: number;
  readonly mode: number;
  readonly uid: number;
  readonly mtimeMs: number;
}

export interface OpenOptions {
  readonly read?: boolean;
  readonly write?: boolean;
  readonly create?: boolean;
  readonly createNew?: boolean;
  readonly truncate?: boolean;
  readonly append?: boolean;
  readonly mode?: number;
  /** What is written goes on to the device while more comes, so that `sync` at the end has little left to do. */
  readonly writesOut?: boolean;
}

/** Paths are absolute. An absent path gives `undefined` or nothing to do where that is said, else a `not_found`. */
export interface Files {
  /** @param maxBytes more than that is an error, not memory */
  readBytes(path: string, maxBytes: number): Promise<Uint8Array<ArrayBuffer>>;
  readText(path: string, maxBytes: number): Promise<string>;
  /** A byte range (whole file by default) as chunks of up to 1 MiB. */
  readStream(
    path: string,
    range?: { offsetBytes: number; sizeBytes: number },
  ): ReadableStream<Uint8Array<ArrayBuffer>>;
  /** Temporary name, fsync, rename, fsync of the directory: readers see the old content or the new. */
  writeAtomic(path: string, content: Uint8Array | string, mode?: number): Promise<void>;
  /**
   * As `writeAtomic`, without waiting for the disk: a power cut may leave the file empty. For what is synced later, or
   * is made anew.
   */
  replace(path: string, content: Uint8Array | string, mode?: number): Promise<void>;
  /** fsync, of a file or of the names in a directory. */
  sync(path: string): Promise<void>;
  /** With parents; fine if it is there. */
  makeDirectory(path: string, mode?: number): Promise<void>;
  /** Recursive; fine if it is absent. Symlinks are removed, not followed. */
  remove(path: string): Promise<void>;
  rename(from: string, to: string): Promise<void>;
  /** Permission bits of a file or directory. */
  setMode(path: string, mode: number): Promise<void>;
  /** Does not follow a last symlink. */
  stat(path: string): Promise<FileStat | undefined>;
  /** With every symlink followed. @returns undefined where it leads nowhere */
  realPath(path: string): Promise<string | undefined>;
  /** Names, sorted; empty for an absent directory. */
  list(path: string): Promise<string[]>;
  open(path: string, options: OpenOptions): Promise<RandomAccessFile>;
  /** Shares blocks with `from` (FICLONE). @returns false where the filesystem cannot */
  reflink(from: string, to: string): Promise<boolean>;
  /** Copies data and keeps holes (SEEK_DATA, copy_file_range). */
  copySparse(from: string, to: string): Promise<void>;
  /** Bytes an unprivileged user can still write below `path`. */
  freeBytes(path: string): Promise<number>;
  /** Waits for the exclusive lock (flock) on a file that it makes; released on dispose or process end. */
  lock(path: string): Promise<AsyncDisposable>;
  /** As `lock`, but `undefined` at once where somebody else has it. */
  tryLock(path: string): Promise<AsyncDisposable | undefined>;
}

export interface RandomAccessFile extends AsyncDisposable {
  /** @returns bytes read: fewer than asked only at the end of the file */
  readAt(buffer: Uint8Array, offsetBytes: number): Promise<number>;
  /** Writes all of `bytes`. */
  writeAt(bytes: Uint8Array, offsetBytes: number): Promise<void>;
  truncate(sizeBytes: number): Promise<void>;
  sizeBytes(): Promise<number>;
  /** fsync */
  sync(): Promise<void>;
  /** Idempotent. */
  close(): void;
}

export interface CommandLine {
  readonly program: string;
  readonly args: readonly string[];
  readonly cwd?: string;
  /** Added to the current environment; `clearEnv` makes it the whole of it. */
  readonly env?: Readonly<Record<string, string>>;
  readonly clearEnv?: boolean;
}

export interface RunOptions {
  readonly stdin?: Uint8Array;
  readonly signal?: AbortSignal;
  readonly timeoutMs?: number;
  /** Kept of stdout, and of the end of stderr; more is dropped. Default 1 MiB each. */
  readonly maxOutputBytes?: number;
}

export interface RunResult {
  /** 128 + signal where a signal ended it. */
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface PipedProcess {
  readonly stdout: ReadableStream<Uint8Array<ArrayBuffer>>;
  /** Resolves when the process has ended; stderr's last 64 KiB. */
  readonly result: Promise<{ code: number; stderr: string }>;
}

export interface BackgroundProcess {
  readonly pid: number;
  /** Undefined while it runs. */
  exitCode(): number | undefined;
}

/** Enough to know a process again after a restart of ours, whatever became of its pid. */
export interface ProcessIdentity {
  readonly pid: number;
  /** Field 22 of /proc/PID/stat. */
  readonly startTimeTicks: number;
  /** /proc/sys/kernel/random/boot_id */
  readonly bootId: string;
  /** Target of /proc/PID/exe, without " (deleted)". */
  readonly executable: string;
}

export interface FoundProcess extends ProcessIdentity {
  /** Arguments, each ended by a NUL. */
  readonly commandLine: string;
}

export interface Processes {
  /** The processor that programs here are for. */
  readonly architecture: Architecture;
  /** Runs to the end and captures. A missing program is `missing_tool`; a non-zero code is a result. */
  run(command: CommandLine, options?: RunOptions): Promise<RunResult>;
  /** Streams stdout, and `stdin` where it is given; `signal` kills it. */
  pipe(command: CommandLine, signal?: AbortSignal, stdin?: AsyncIterable<Uint8Array>): Promise<PipedProcess>;
  /** With our own standard streams and terminal. @returns the exit code */
  inherit(command: CommandLine): Promise<number>;
  /** In a session of its own, stdin null, output appended to `logPath`; it outlives us. */
  startInBackground(command: CommandLine, logPath: string): Promise<BackgroundProcess>;
  /** As `startInBackground`, and finds out who it is, so that a later process of ours can find it again. */
  startDetached(command: CommandLine, logPath: string): Promise<ProcessIdentity>;
  identify(pid: number): Promise<ProcessIdentity | undefined>;
  isAlive(identity: ProcessIdentity): Promise<boolean>;
  /** User plus system time used so far. @returns undefined if it is gone */
  cpuTimeMs(identity: ProcessIdentity): Promise<number | undefined>;
  /** What it has in memory. @returns undefined if it is gone */
  memoryBytes(identity: ProcessIdentity): Promise<number | undefined>;
  /** Through a pidfd, after the identity was checked. @returns false if it is gone */
  signal(identity: ProcessIdentity, signal: "SIGTERM" | "SIGKILL" | "SIGINT"): Promise<boolean>;
  /** @returns whether it is gone within `timeoutMs` */
  waitForExit(identity: ProcessIdentity, timeoutMs: number): Promise<boolean>;
  /** Those of our user with `fragment` in their command line, ourselves left out. */
  findByCommandLine(fragment: string): Promise<FoundProcess[]>;
  /** Absolute path of a program on PATH (and in the sbin directories). */
  which(program: string): Promise<string | undefined>;
}

/** A byte stream in both directions. Deno's connections are ones. */
export interface Connection {
  /** @returns bytes read, null at the end */
  read(into: Uint8Array): Promise<number | null>;
  /** @returns bytes taken, maybe fewer than given */
  write(bytes: Uint8Array): Promise<number>;
  /** Half-close: the other side reads the end. */
  closeWrite(): Promise<void>;
  /** Idempotent. Pending reads and writes fail or end. */
  close(): void;
}

export interface Listener extends AsyncIterable<Connection> {
  close(): void;
}

export interface Sockets {
  connectUnix(path: string): Promise<Connection>;
  /** The socket file gets mode 0600. An existing file is an error: see `removeStaleSocket`. */
  listenUnix(path: string): Promise<Listener>;
  /** Unlinks a socket that answers ECONNREFUSED. @returns false where somebody listens */
  removeStaleSocket(path: string): Promise<boolean>;
  connectVsock(cid: number, port: number): Promise<Connection>;
}

export type LogLevel = "debug" | "info" | "warn" | "error";

/** Structured: one JSON object a line. Values are data, never formatted into the message. */
export interface Log {
  (level: LogLevel, message: string, fields?: Readonly<Record<string, unknown>>): void;
}

/** How long work tells what it is doing. */
export interface Progress {
  /** A new stage begins; the one before is over. */
  stage(name: string): void;
  /** Within the stage; `total` where it is known. */
  update(done: number, total?: number): void;
  /** Something worth a line of its own. */
  note(text: string): void;
}

export type { ErrorBody };
