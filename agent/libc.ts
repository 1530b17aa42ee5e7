/**
 * The C library's calls that Deno has no API for: processes in sessions of their own, terminals,
 * and waiting for many descriptors at once. Linux on x86_64 and arm64.
 */
import { ARCHITECTURES } from "../lib/base/architecture.ts";

/**
 * `read` and `write` give `i32`: their counts here never reach 2^31, and a BigInt a call would be slow. What ends in
 * `_aside` runs on another thread, whose error number nobody can read.
 */
const SYMBOLS = {
  __errno_location: { parameters: [], result: "pointer" },
  access: { parameters: ["buffer", "i32"], result: "i32" },
  chdir: { parameters: ["buffer"], result: "i32" },
  chown: { parameters: ["buffer", "u32", "u32"], result: "i32" },
  close: { parameters: ["i32"], result: "i32" },
  eventfd: { parameters: ["u32", "i32"], result: "i32" },
  fchown: { parameters: ["i32", "u32", "u32"], result: "i32" },
  fchmod: { parameters: ["i32", "u32"], result: "i32" },
  fcntl: { parameters: ["i32", "i32", "i32"], result: "i32" },
  futimens: { parameters: ["i32", "buffer"], result: "i32" },
  grantpt: { parameters: ["i32"], result: "i32" },
  ioctl: { parameters: ["i32", "usize", "buffer"], result: "i32" },
  kill: { parameters: ["i32", "i32"], result: "i32" },
  lseek: { parameters: ["i32", "i64", "i32"], result: "i64" },
  open: { parameters: ["buffer", "i32", "u32"], result: "i32" },
  pipe2: { parameters: ["buffer", "i32"], result: "i32" },
  poll: { parameters: ["buffer", "usize", "i32"], result: "i32", nonblocking: true },
  posix_openpt: { parameters: ["i32"], result: "i32" },
  posix_spawn: { parameters: ["buffer", "buffer", "buffer", "buffer", "buffer", "buffer"], result: "i32" },
  posix_spawn_file_actions_adddup2: { parameters: ["buffer", "i32", "i32"], result: "i32" },
  posix_spawn_file_actions_addopen: { parameters: ["buffer", "i32", "buffer", "i32", "u32"], result: "i32" },
  posix_spawn_file_actions_destroy: { parameters: ["buffer"], result: "i32" },
  posix_spawn_file_actions_init: { parameters: ["buffer"], result: "i32" },
  posix_spawnattr_destroy: { parameters: ["buffer"], result: "i32" },
  posix_spawnattr_init: { parameters: ["buffer"], result: "i32" },
  posix_spawnattr_setflags: { parameters: ["buffer", "i16"], result: "i32" },
  posix_spawnattr_setsigdefault: { parameters: ["buffer", "buffer"], result: "i32" },
  posix_spawnattr_setsigmask: { parameters: ["buffer", "buffer"], result: "i32" },
  pread: { parameters: ["i32", "buffer", "usize", "i64"], result: "i32" },
  pread_aside: {
    name: "pread",
    parameters: ["i32", "buffer", "usize", "i64"],
    result: "i32",
    nonblocking: true,
  },
  prlimit: { parameters: ["i32", "i32", "buffer", "buffer"], result: "i32" },
  ptsname_r: { parameters: ["i32", "buffer", "usize"], result: "i32" },
  read: { parameters: ["i32", "buffer", "usize"], result: "i32" },
  read_aside: { name: "read", parameters: ["i32", "buffer", "usize"], result: "i32", nonblocking: true },
  readv: { parameters: ["i32", "buffer", "i32"], result: "i32" },
  rename: { parameters: ["buffer", "buffer"], result: "i32" },
  setgroups: { name: "syscall", parameters: ["isize", "isize", "buffer"], result: "isize" },
  setpriority: { parameters: ["i32", "u32", "i32"], result: "i32" },
  setresid: { name: "syscall", parameters: ["isize", "isize", "isize", "isize"], result: "isize" },
  statvfs: { parameters: ["buffer", "buffer"], result: "i32" },
  sync: { parameters: [], result: "void", nonblocking: true },
  syscall: { parameters: ["isize", "isize", "isize"], result: "isize" },
  unlink: { parameters: ["buffer"], result: "i32" },
  unlockpt: { parameters: ["i32"], result: "i32" },
  waitpid: { parameters: ["i32", "buffer", "i32"], result: "i32" },
  write: { parameters: ["i32", "buffer", "usize"], result: "i32" },
  write_aside: { name: "write", parameters: ["i32", "buffer", "usize"], result: "i32", nonblocking: true },
} as const satisfies Deno.ForeignLibraryInterface;

type Calls = Deno.DynamicLibrary<typeof SYMBOLS>["symbols"];

export interface Libc extends Disposable {
  readonly call: Calls;
  /** Looks up the calls that nobody has used yet, one a turn: so the first command does not wait for them. */
  prepare(): Promise<void>;
}

/**
 * Each call is looked up when it is first used: Deno compiles a trampoline for each, which under emulation
 * takes 5 ms, and a guest's start waits for this program.
 */
export function openLibc(): Libc {
  const libraries: { close(): void }[] = [];
  const call = {} as Calls;
  let isOpen = true;
  for (const [name, definition] of Object.entries(SYMBOLS)) {
    Object.defineProperty(call, name, {
      configurable: true,
      get() {
        const library = Deno.dlopen("libc.so.6", { [name]: definition });
        libraries.push(library);
        const value = library.symbols[name];
        Object.defineProperty(call, name, { value });
        return value;
      },
    });
  }
  return {
    call,
    async prepare() {
      for (const name of Object.keys(SYMBOLS) as (keyof Calls)[]) {
        await new Promise((resolve) => setTimeout(resolve, 0));
        if (!isOpen) return;
        void call[name];
      }
    },
    [Symbol.dispose]() {
      isOpen = false;
      for (const library of libraries) library.close();
    },
  };
}

export const O_WRONLY = 1;
export const O_RDWR = 2;
export const O_CREAT = 0o100;
export const O_EXCL = 0o200;
export const O_NOCTTY = 0o400;
export const O_NONBLOCK = 0o4000;
export const O_NOFOLLOW = ARCHITECTURES[Deno.build.arch].openFlags.noFollow;
export const O_DIRECT = ARCHITECTURES[Deno.build.arch].openFlags.direct;
export const O_CLOEXEC = 0o2000000;
export const F_OK = 0;
export const X_OK = 1;
export const F_SETFL = 4;
export const F_SETPIPE_SZ = 1031;
export const SEEK_END = 2;
export const WNOHANG = 1;
export const SYS_PIDFD_OPEN = 434n;
export const RLIMIT_NOFILE = 7;
export const TCGETS = 0x5401n;
export const TCSETS = 0x5402n;
export const TIOCSWINSZ = 0x5414n;
export const FIONREAD = 0x541bn;

export const ENOENT = 2;
export const EINTR = 4;
export const EIO = 5;
export const E2BIG = 7;
export const ENOEXEC = 8;
export const EAGAIN = 11;
export const EACCES = 13;
export const ENOTDIR = 20;
export const ENOSPC = 28;
export const EPIPE = 32;
export const ELOOP = 40;

/** A call of the C library that failed. */
export class LibcError extends Error {
  override readonly name = "LibcError";

  constructor(readonly call: string, readonly errno: number) {
    super(`${call}: errno ${errno}`);
  }
}

/** Of this thread's last call: read it before anything else is called. */
export function errnoOf(libc: Libc): number {
  const location = libc.call.__errno_location();
  return location === null ? 0 : new Deno.UnsafePointerView(location).getInt32();
}

/** @throws {LibcError} where `result` is negative */
export function checked(libc: Libc, call: string, result: number): number {
  if (result < 0) throw new LibcError(call, errnoOf(libc));
  return result;
}

export function cString(text: string): Uint8Array<ArrayBuffer> {
  return new Uint8Array(new TextEncoder().encode(`${text}\0`));
}

/** The bytes of an array of C integers. */
export function bytesOf(
  array: Int32Array<ArrayBuffer> | BigUint64Array<ArrayBuffer>,
): Uint8Array<ArrayBuffer> {
  return new Uint8Array(array.buffer);
}

/** `char *const []`; keep it for as long as C reads it. */
export class CStringArray {
  readonly pointers: Uint8Array<ArrayBuffer>;
  /** What `pointers` points to. */
  readonly strings: readonly Uint8Array<ArrayBuffer>[];

  constructor(texts: readonly string[]) {
    this.strings = texts.map(cString);
    const pointers = new BigUint64Array(texts.length + 1);
    this.strings.forEach((string, i) => {
      pointers[i] = Deno.UnsafePointer.value(Deno.UnsafePointer.of(string));
    });
    this.pointers = bytesOf(pointers);
  }
}
