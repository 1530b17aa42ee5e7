/** Names as bytes below a directory, by system calls that never leave it. Source: openat2(2), statx(2) */
import { ARCHITECTURES } from "../base/architecture.ts";
import type { ByteString } from "../base/tree.ts";
import type { TreeStat } from "../base/tree_reader.ts";
import { checked, libc, O_CLOEXEC } from "./libc.ts";
import { SystemCallError } from "./os_errors.ts";

const { openFlags } = ARCHITECTURES[Deno.build.arch];
export const O_NOFOLLOW = openFlags.noFollow;
export const O_DIRECTORY = openFlags.directory;
export const O_PATH = 0o10000000;
/** RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, RESOLVE_BENEATH: linux/openat2.h */
const RESOLVE = 0x02n | 0x04n | 0x08n;
const SYS_OPENAT2 = 437n;
const OPEN_HOW_BYTES = 24;
const AT_EMPTY_PATH = 0x1000;
const STATX_BASIC_STATS = 0x7ff;
const STATX_BYTES = 256;
const EMPTY = new Uint8Array(1);
const S_IFMT = 0o170000;
const KINDS: Readonly<Record<number, TreeStat["kind"]>> = {
  0o100000: "file",
  0o040000: "directory",
  0o120000: "symlink",
};

/** With its NUL. */
export function byteCString(text: ByteString): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(text.length + 1);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

/**
 * Opens what lies below a directory, with no symlink and no `..` on the way.
 *
 * @param mode of a file that it makes
 * @throws {SystemCallError}
 */
export function openBeneath(directory: number, path: ByteString, flags: number, mode = 0): number {
  const name = byteCString(path);
  const how = new BigUint64Array(OPEN_HOW_BYTES / 8);
  how[0] = BigInt(flags | O_CLOEXEC);
  how[1] = BigInt(mode);
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

/** @param descriptor may be one of O_PATH */
export function statOf(descriptor: number): TreeStat {
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
