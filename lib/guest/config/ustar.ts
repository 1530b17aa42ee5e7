/**
 * A tar of a few small root-owned files, in memory, the same bytes for the same files. What reads it is
 * busybox in the initramfs, straight from a block device.
 */
import { BangerError } from "../../base/errors.ts";
import { concatBytes } from "../../base/bytes.ts";

const BLOCK_BYTES = 512;
/** virtio-blk devices are whole sectors, and some hosts want whole pages. */
const DEVICE_ALIGNMENT_BYTES = 4096;

export interface UstarFile {
  /** At most 100 ASCII bytes. */
  readonly name: string;
  readonly mode: number;
  readonly content: Uint8Array;
}

/**
 * @returns the archive with its end marker, a multiple of 4096 bytes
 * @throws {BangerError} `internal` for a name that the format's first field cannot hold
 * Source: POSIX.1-2017, pax, "ustar Interchange Format"
 */
export function writeUstar(files: readonly UstarFile[]): Uint8Array<ArrayBuffer> {
  const parts = files.flatMap(({ name, mode, content }) => [
    header(name, mode, content.length),
    content,
    new Uint8Array(padding(content.length, BLOCK_BYTES)),
  ]);
  const sizeBytes = parts.reduce((sum, part) => sum + part.length, 0) + 2 * BLOCK_BYTES;
  return concatBytes([
    ...parts,
    new Uint8Array(2 * BLOCK_BYTES),
    new Uint8Array(padding(sizeBytes, DEVICE_ALIGNMENT_BYTES)),
  ]);
}

function padding(sizeBytes: number, alignment: number): number {
  return (alignment - sizeBytes % alignment) % alignment;
}

function header(name: string, mode: number, sizeBytes: number): Uint8Array {
  if (!/^[\x21-\x7e]{1,100}$/.test(name)) {
    throw new BangerError(
      "internal",
      `Cannot put ${JSON.stringify(name)} into a config disk: not a plain name`,
    );
  }
  const block = new Uint8Array(BLOCK_BYTES);
  const put = (text: string, offset: number) => block.set(new TextEncoder().encode(text), offset);
  const octal = (value: number, digits: number) => value.toString(8).padStart(digits, "0");
  put(name, 0);
  put(`${octal(mode, 7)}\0${octal(0, 7)}\0${octal(0, 7)}\0${octal(sizeBytes, 11)}\0${octal(0, 11)}\0`, 100);
  put("        0", 148);
  put("ustar\x0000root\0", 257);
  put("root\0", 297);
  const checksum = block.reduce((sum, byte) => sum + byte, 0);
  put(`${octal(checksum, 6)}\0 `, 148);
  return block;
}
