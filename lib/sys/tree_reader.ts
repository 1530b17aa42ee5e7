import { BangerError } from "../base/errors.ts";
import { type ByteString, byteString } from "../base/tree.ts";
import { quoteBytes } from "../base/tree_paths.ts";
import type { TreeFile, TreeReader, TreeStat } from "../base/tree_reader.ts";
import { checked, cString, libc, O_CLOEXEC, O_RDONLY } from "./libc.ts";
import { osError, SystemCallError } from "./os_errors.ts";

const O_NONBLOCK = 0o4000;
/** The two differ between architectures: asm-generic/fcntl.h, arch/arm64/include/uapi/asm/fcntl.h */
const IS_ARM = Deno.build.arch === "aarch64";
const O_NOFOLLOW = IS_ARM ? 0o100000 : 0o400000;
const O_DIRECTORY = IS_ARM ? 0o40000 : 0o200000;
const O_PATH = 0o10000000;
/** RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, RESOLVE_BENEATH: linux/openat2.h */
const RESOLVE = 0x02n | 0x04n | 0x08n;
const SYS_OPENAT2 = 437n;
const OPEN_HOW_BYTES = 24;
const AT_EMPTY_PATH = 0x1000;
const STATX_BASIC_STATS = 0x7ff;
const STATX_BYTES = 256;
const MAX_LINK_BYTES = 4096;
const EMPTY = new Uint8Array(1);
const S_IFMT = 0o170000;
const KINDS: Readonly<Record<number, TreeStat["kind"]>> = {
  0o100000: "file",
  0o040000: "directory",
  0o120000: "symlink",
};
/** Nothing is there; or what should be a directory on the way is a file or a symlink. */
const ABSENT = new Set(["ENOENT", "ENOTDIR", "ELOOP", "EXDEV"]);

/**
 * Opens a directory of the host for reading what lies in it.
 *
 * @throws {BangerError} `not_found`; `host_unsupported` on kernels before 5.6
 * Source: openat2(2), statx(2)
 */
export function openTree(root: string): TreeReader {
  const descriptor = attempt(
    root,
    () => checked("open", libc().open(cString(root), O_PATH | O_DIRECTORY | O_CLOEXEC, 0)),
  );
  let isOpen = true;
  const at = <T>(path: ByteString, flags: number, act: (descriptor: number) => T): T => {
    const opened = openBeneath(descriptor, path, flags);
    try {
      return act(opened);
    } finally {
      libc().close(opened);
    }
  };
  return {
    find(path) {
      try {
        return at(path, O_PATH | O_NOFOLLOW, statOf);
      } catch (thrown) {
        if (thrown instanceof SystemCallError && ABSENT.has(thrown.code)) return undefined;
        throw failure(path, thrown);
      }
    },
    readLink: (path) => attempt(path, () => at(path, O_PATH | O_NOFOLLOW, readLink)),
    open: (path) => attempt(path, () => openFile(descriptor, path)),
    [Symbol.dispose]() {
      if (isOpen) libc().close(descriptor);
      isOpen = false;
    },
  };
}

function attempt<T>(path: string, act: () => T): T {
  try {
    return act();
  } catch (thrown) {
    throw failure(path, thrown);
  }
}

function failure(path: string, thrown: unknown): BangerError {
  if (thrown instanceof SystemCallError && thrown.code === "ENOSYS") {
    return new BangerError(
      "host_unsupported",
      "Cannot read a directory safely: this kernel has no openat2",
      "Use Linux 5.6 or newer",
    );
  }
  return osError(`read ${quoteBytes(path as ByteString)}`, thrown);
}

function openBeneath(directory: number, path: ByteString, flags: number): number {
  const name = new Uint8Array(path.length + 1);
  for (let i = 0; i < path.length; i++) name[i] = path.charCodeAt(i);
  const how = new BigUint64Array(OPEN_HOW_BYTES / 8);
  how[0] = BigInt(flags | O_CLOEXEC);
  how[2] = RESOLVE;
  for (;;) {
    const opened = libc().openat2(
      SYS_OPENAT2,
      BigInt(directory),
      name,
      new Uint8Array(how.buffer),
      BigInt(OPEN_HOW_BYTES),
    );
    try {
      return checked("openat2", opened);
    } catch (thrown) {
      // A rename elsewhere while ".." was looked at; paths here have none, but the kernel may say so.
      if (thrown instanceof SystemCallError && thrown.code === "EAGAIN") continue;
      throw thrown;
    }
  }
}

function statOf(descriptor: number): TreeStat {
  const buffer = new Uint8Array(STATX_BYTES);
  checked("statx", libc().statx(descriptor, EMPTY, AT_EMPTY_PATH, STATX_BASIC_STATS, buffer));
  const view = new DataView(buffer.buffer);
  const isLittle = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1;
  const mode = view.getUint16(28, isLittle);
  return {
    kind: KINDS[mode & S_IFMT] ?? "other",
    mode: mode & 0o7777,
    sizeBytes: Number(view.getBigUint64(40, isLittle)),
    mtimeSeconds: Number(view.getBigInt64(112, isLittle)),
  };
}

function readLink(descriptor: number): ByteString {
  const buffer = new Uint8Array(MAX_LINK_BYTES);
  const length = checked(
    "readlinkat",
    libc().readlinkat(descriptor, EMPTY, buffer, BigInt(buffer.length)),
  );
  return byteString(buffer.subarray(0, length));
}

function openFile(directory: number, path: ByteString): TreeFile {
  // A pipe's other end is not waited for: what it is shows only once it is open.
  const descriptor = openBeneath(directory, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  let isOpen = true;
  const close = () => {
    if (isOpen) libc().close(descriptor);
    isOpen = false;
  };
  try {
    const stat = statOf(descriptor);
    if (stat.kind !== "file") {
      throw new BangerError("wrong_state", `Cannot read ${quoteBytes(path)}: it is no regular file`);
    }
    return {
      stat,
      read: (into) =>
        checked("read", libc().read(descriptor, into as Uint8Array<ArrayBuffer>, BigInt(into.length))),
      [Symbol.dispose]: close,
    };
  } catch (thrown) {
    close();
    throw thrown;
  }
}
