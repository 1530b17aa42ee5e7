/**
 * The C library's calls on files that sftp needs: as another user, and for names of any bytes. Deno has them
 * neither so. Linux on x86_64 and arm64.
 */
import { ARCHITECTURES } from "../../../lib/base/architecture.ts";
import type { Account } from "../../accounts.ts";
import { asUser } from "../../identity.ts";
import { errnoOf, type Libc, LibcError, O_CLOEXEC, O_NOCTTY, O_NONBLOCK } from "../../libc.ts";

const { systemCalls: SYSCALLS, openFlags } = ARCHITECTURES[Deno.build.arch];

const PATH = "buffer";
const SYMBOLS = {
  chmod: { parameters: [PATH, "u32"], result: "i32" },
  close: { parameters: ["i32"], result: "i32" },
  fchmod: { parameters: ["i32", "u32"], result: "i32" },
  fchown: { parameters: ["i32", "u32", "u32"], result: "i32" },
  fstatvfs: { parameters: ["i32", "buffer"], result: "i32" },
  fsync: { parameters: ["i32"], result: "i32" },
  ftruncate64: { parameters: ["i32", "i64"], result: "i32" },
  futimens: { parameters: ["i32", "buffer"], result: "i32" },
  chown: { parameters: [PATH, "u32", "u32"], result: "i32" },
  lchown: { parameters: [PATH, "u32", "u32"], result: "i32" },
  link: { parameters: [PATH, PATH], result: "i32" },
  mkdir: { parameters: [PATH, "u32"], result: "i32" },
  open64: { parameters: [PATH, "i32", "u32"], result: "i32" },
  pread64: { parameters: ["i32", "buffer", "usize", "i64"], result: "i32" },
  pwrite64: { parameters: ["i32", "buffer", "usize", "i64"], result: "i32" },
  readlink: { parameters: [PATH, "buffer", "usize"], result: "i32" },
  realpath: { parameters: [PATH, "buffer"], result: "pointer" },
  rename: { parameters: [PATH, PATH], result: "i32" },
  rmdir: { parameters: [PATH], result: "i32" },
  statvfs: { parameters: [PATH, "buffer"], result: "i32" },
  symlink: { parameters: [PATH, PATH], result: "i32" },
  sys_stat: {
    name: "syscall",
    parameters: ["isize", "isize", "buffer", "isize", "isize", "buffer"],
    result: "isize",
  },
  sys_list: { name: "syscall", parameters: ["isize", "isize", "buffer", "isize"], result: "isize" },
  sys_rename: {
    name: "syscall",
    parameters: ["isize", "isize", "buffer", "isize", "buffer", "isize"],
    result: "isize",
  },
  truncate64: { parameters: [PATH, "i64"], result: "i32" },
  unlink: { parameters: [PATH], result: "i32" },
  utimensat: { parameters: ["i32", PATH, "buffer", "i32"], result: "i32" },
} as const satisfies Deno.ForeignLibraryInterface;
type Calls = Deno.DynamicLibrary<typeof SYMBOLS>["symbols"];

export const O_WRONLY = 1;
export const O_RDWR = 2;
export const O_CREAT = 0o100;
export const O_EXCL = 0o200;
export const O_TRUNC = 0o1000;
export const O_APPEND = 0o2000;
const O_DIRECTORY = openFlags.directory;
const AT_FDCWD = -100;
const AT_SYMLINK_NOFOLLOW = 0x100;
const AT_EMPTY_PATH = 0x1000;
const STATX_BASIC = 0x7ffn;
const STATX_BYTES = 256;
const RENAME_NOREPLACE = 1n;
const PATH_MAX = 4096;
const STATVFS_FIELDS = 11;
const STATVFS_BYTES = 256;
const DIRENT_NAME_AT = 19;
const DIRENTS_BYTES = 32 * 1024;

/** Ends in a NUL, as C wants it. */
export type CPath = Uint8Array<ArrayBuffer>;

export interface FileAttributes {
  readonly sizeBytes: number;
  readonly uid: number;
  readonly gid: number;
  readonly mode: number;
  readonly links: number;
  readonly accessedSeconds: number;
  readonly modifiedSeconds: number;
}

/** @param path without its NUL */
export function cPath(path: Uint8Array): CPath {
  const bytes = new Uint8Array(path.length + 1);
  bytes.set(path);
  return bytes;
}

/** Files as one user sees them. All methods throw `LibcError` with the number that says why. */
export class FileCalls implements Disposable {
  readonly #libc: Libc;
  readonly #account: Account;
  readonly #library: Deno.DynamicLibrary<typeof SYMBOLS>;
  readonly #call: Calls;

  constructor(libc: Libc, account: Account) {
    this.#libc = libc;
    this.#account = account;
    this.#library = Deno.dlopen("libc.so.6", SYMBOLS);
    this.#call = this.#library.symbols;
  }

  [Symbol.dispose](): void {
    this.#library.close();
  }

  /** Never waits: a FIFO without another end is an error. */
  open(path: CPath, flags: number, mode: number): number {
    const all = flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
    return this.#as("open", (call) => call.open64(path, all, mode));
  }

  openDirectory(path: CPath): number {
    return this.open(path, O_DIRECTORY, 0);
  }

  close(fd: number): void {
    this.#as("close", (call) => call.close(fd));
  }

  read(fd: number, into: Uint8Array<ArrayBuffer>, at: number): number {
    return this.#plain("pread", this.#call.pread64(fd, into, BigInt(into.length), BigInt(at)));
  }

  write(fd: number, bytes: Uint8Array, at: number): number {
    const buffer = bytes as Uint8Array<ArrayBuffer>;
    return this.#plain("pwrite", this.#call.pwrite64(fd, buffer, BigInt(bytes.length), BigInt(at)));
  }

  /** @param path empty and `fd` given: of that */
  stat(path: CPath, { isFollowing = true, fd = AT_FDCWD }: { isFollowing?: boolean; fd?: number } = {}) {
    const flags = (isFollowing ? 0 : AT_SYMLINK_NOFOLLOW) | (fd === AT_FDCWD ? 0 : AT_EMPTY_PATH);
    const buffer = new Uint8Array(STATX_BYTES);
    this.#as(
      "statx",
      (call) => Number(call.sys_stat(SYSCALLS.statx, BigInt(fd), path, BigInt(flags), STATX_BASIC, buffer)),
    );
    return parseStatx(buffer);
  }

  /** @returns the next names; empty at the end */
  list(fd: number): Uint8Array[] {
    const buffer = new Uint8Array(DIRENTS_BYTES);
    const count = this.#plain(
      "getdents64",
      Number(this.#call.sys_list(SYSCALLS.getdents64, BigInt(fd), buffer, BigInt(buffer.length))),
    );
    const view = new DataView(buffer.buffer);
    const names: Uint8Array[] = [];
    for (let at = 0; at < count;) {
      const entryBytes = view.getUint16(at + 16, true);
      const name = buffer.subarray(at + DIRENT_NAME_AT, at + entryBytes);
      names.push(name.subarray(0, name.indexOf(0)));
      at += entryBytes;
    }
    return names;
  }

  readLink(path: CPath): Uint8Array {
    const buffer = new Uint8Array(PATH_MAX);
    return buffer.subarray(
      0,
      this.#as("readlink", (call) => call.readlink(path, buffer, BigInt(buffer.length))),
    );
  }

  realPath(path: CPath): Uint8Array {
    const buffer = new Uint8Array(PATH_MAX);
    this.#as("realpath", (call) => call.realpath(path, buffer) === null ? -1 : 0);
    return buffer.subarray(0, buffer.indexOf(0));
  }

  unlink(path: CPath): void {
    this.#as("unlink", (call) => call.unlink(path));
  }

  makeDirectory(path: CPath, mode: number): void {
    this.#as("mkdir", (call) => call.mkdir(path, mode));
  }

  removeDirectory(path: CPath): void {
    this.#as("rmdir", (call) => call.rmdir(path));
  }

  link(existing: CPath, path: CPath): void {
    this.#as("link", (call) => call.link(existing, path));
  }

  symlink(target: CPath, path: CPath): void {
    this.#as("symlink", (call) => call.symlink(target, path));
  }

  /** @param mayReplace false: an existing file is an error */
  rename(from: CPath, to: CPath, mayReplace: boolean): void {
    this.#as("rename", (call) => {
      if (mayReplace) return call.rename(from, to);
      const here = BigInt(AT_FDCWD);
      return Number(call.sys_rename(SYSCALLS.renameat2, here, from, here, to, RENAME_NOREPLACE));
    });
  }

  truncate(path: CPath | number, sizeBytes: number): void {
    const size = BigInt(sizeBytes);
    this.#as(
      "truncate",
      (call) => typeof path === "number" ? call.ftruncate64(path, size) : call.truncate64(path, size),
    );
  }

  changeMode(path: CPath | number, mode: number): void {
    this.#as("chmod", (call) => typeof path === "number" ? call.fchmod(path, mode) : call.chmod(path, mode));
  }

  changeOwner(path: CPath | number, uid: number, gid: number, isFollowing = true): void {
    this.#as("chown", (call) => {
      if (typeof path === "number") return call.fchown(path, uid, gid);
      return isFollowing ? call.chown(path, uid, gid) : call.lchown(path, uid, gid);
    });
  }

  changeTimes(path: CPath | number, accessed: number, modified: number, isFollowing = true): void {
    const times = new Uint8Array(BigInt64Array.of(BigInt(accessed), 0n, BigInt(modified), 0n).buffer);
    const flags = isFollowing ? 0 : AT_SYMLINK_NOFOLLOW;
    this.#as(
      "utimensat",
      (call) =>
        typeof path === "number" ? call.futimens(path, times) : call.utimensat(AT_FDCWD, path, times, flags),
    );
  }

  sync(fd: number): void {
    this.#as("fsync", (call) => call.fsync(fd));
  }

  /** @returns the fields of `struct statvfs`, as the protocol's extension has them, too */
  statFileSystem(path: CPath | number): bigint[] {
    const buffer = new Uint8Array(STATVFS_BYTES);
    this.#as(
      "statvfs",
      (call) => typeof path === "number" ? call.fstatvfs(path, buffer) : call.statvfs(path, buffer),
    );
    const view = new DataView(buffer.buffer);
    return Array.from({ length: STATVFS_FIELDS }, (_, i) => view.getBigUint64(8 * i, true));
  }

  /** As the user. The error's number is read before another call can change it. */
  #as(name: string, act: (call: Calls) => number): number {
    return asUser(this.#libc, this.#account, () => this.#plain(name, act(this.#call)));
  }

  #plain(name: string, result: number): number {
    if (result < 0) throw new LibcError(name, errnoOf(this.#libc));
    return result;
  }
}

/** Source: include/uapi/linux/stat.h, `struct statx` */
function parseStatx(buffer: Uint8Array<ArrayBuffer>): FileAttributes {
  const view = new DataView(buffer.buffer);
  const seconds = (at: number) => Math.min(Math.max(Number(view.getBigInt64(at, true)), 0), 0xffff_ffff);
  return {
    links: view.getUint32(16, true),
    uid: view.getUint32(20, true),
    gid: view.getUint32(24, true),
    mode: view.getUint16(28, true),
    sizeBytes: Number(view.getBigUint64(40, true)),
    accessedSeconds: seconds(64),
    modifiedSeconds: seconds(112),
  };
}
