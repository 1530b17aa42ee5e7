/**
 * A tar of a few small root-owned files, in memory, the same bytes for the same files. What reads it is
 * busybox, in the initramfs straight from a block device.
 */
import { concatBytes } from "../../base/bytes.ts";

const BLOCK_BYTES = 512;
/** virtio-blk devices are whole sectors, and some hosts want whole pages. */
const DEVICE_ALIGNMENT_BYTES = 4096;
const ZERO = new Uint8Array(1);

const NAME_BYTES = 100;
/** A record before the entry, whose content is the entry's name. Source: GNU tar manual, "Basic Tar Format" */
const GNU_LONG_NAME = "L";
const GNU_LONG_NAME_OF = "././@LongLink";

export interface UstarEntry {
  /** Relative. */
  readonly name: string;
  readonly mode: number;
  readonly content: Uint8Array;
  /** Its name then ends with a slash, and its content is empty. */
  readonly isDirectory?: boolean;
}

/**
 * @returns the archive with its end marker, a multiple of 4096 bytes
 * Source: POSIX.1-2017, pax, "ustar Interchange Format"
 */
export function writeUstar(entries: readonly UstarEntry[]): Uint8Array<ArrayBuffer> {
  const parts = entries.flatMap(({ name, mode, content, isDirectory }) => {
    const bytes = new TextEncoder().encode(name);
    const longName = bytes.length > NAME_BYTES
      ? member(new TextEncoder().encode(GNU_LONG_NAME_OF), 0o644, concatBytes([bytes, ZERO]), GNU_LONG_NAME)
      : [];
    return [...longName, ...member(bytes.subarray(0, NAME_BYTES), mode, content, isDirectory ? "5" : "0")];
  });
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

function member(name: Uint8Array, mode: number, content: Uint8Array, type: string): Uint8Array[] {
  return [
    header(name, mode, content.length, type),
    content,
    new Uint8Array(padding(content.length, BLOCK_BYTES)),
  ];
}

function header(name: Uint8Array, mode: number, sizeBytes: number, type: string): Uint8Array {
  const block = new Uint8Array(BLOCK_BYTES);
  const put = (text: string, offset: number) => block.set(new TextEncoder().encode(text), offset);
  const octal = (value: number, digits: number) => value.toString(8).padStart(digits, "0");
  block.set(name, 0);
  put(`${octal(mode, 7)}\0${octal(0, 7)}\0${octal(0, 7)}\0${octal(sizeBytes, 11)}\0${octal(0, 11)}\0`, 100);
  put(`        ${type}`, 148);
  put("ustar\x0000root\0", 257);
  put("root\0", 297);
  const checksum = block.reduce((sum, byte) => sum + byte, 0);
  put(`${octal(checksum, 6)}\0 `, 148);
  return block;
}
