import { cString, ENOENT, ENOTDIR, errnoOf, type Libc, LibcError, O_CLOEXEC } from "./libc.ts";

const MAX_BYTES = 256 * 1024;
const FIRST_BYTES = 4096;

/**
 * Reads a small file through the C library: Deno gives /proc and /sys only to programs that it allows
 * everything.
 *
 * @returns its first 256 KiB as text; undefined where it does not exist
 * @throws {LibcError}
 */
export function readSmallFile(libc: Libc, path: string): string | undefined {
  const fd = libc.call.open(cString(path), O_CLOEXEC, 0);
  if (fd < 0) {
    const errno = errnoOf(libc);
    if (errno === ENOENT || errno === ENOTDIR) return undefined;
    throw new LibcError(`open ${path}`, errno);
  }
  try {
    let buffer = new Uint8Array(FIRST_BYTES);
    let length = 0;
    while (length < MAX_BYTES) {
      if (length === buffer.length) buffer = grown(buffer);
      const rest = buffer.subarray(length);
      const count = libc.call.read(fd, rest, BigInt(rest.length));
      if (count < 0) throw new LibcError(`read ${path}`, errnoOf(libc));
      if (count === 0) break;
      length += count;
    }
    return new TextDecoder().decode(buffer.subarray(0, length));
  } finally {
    libc.call.close(fd);
  }
}

function grown(buffer: Uint8Array): Uint8Array<ArrayBuffer> {
  const larger = new Uint8Array(Math.min(4 * buffer.length, MAX_BYTES));
  larger.set(buffer);
  return larger;
}
