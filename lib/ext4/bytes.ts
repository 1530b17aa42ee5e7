import { BangerError } from "../base/errors.ts";
import type { RandomAccessFile } from "../base/host.ts";

/** A `DataView` of exactly these bytes. */
export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** The number of blocks of `unit` that `amount` needs. */
export function divideUp(amount: number, unit: number): number {
  return Math.ceil(amount / unit);
}

export function roundUp(amount: number, unit: number): number {
  return Math.ceil(amount / unit) * unit;
}

/** Whether the `length` bytes at `start` are all zero. */
export function isZero(bytes: Uint8Array, start: number, length: number): boolean {
  const end = start + length;
  // Most data says "no" in its first bytes; only then the long loop is worth its set-up.
  if ((bytes[start]! | bytes[end - 1]!) !== 0) return false;
  let at = start;
  if ((bytes.byteOffset + start) % 4 === 0) {
    const words = length >>> 2;
    const view = new Int32Array(bytes.buffer, bytes.byteOffset + start, words);
    for (let i = 0; i < words; i++) if (view[i] !== 0) return false;
    at = start + words * 4;
  }
  for (; at < end; at++) if (bytes[at] !== 0) return false;
  return true;
}

/** Reads exactly `length` bytes. @throws {BangerError} `corrupt_data` where the disk ends before */
export async function readFully(
  disk: Pick<RandomAccessFile, "readAt">,
  offsetBytes: number,
  length: number,
): Promise<Uint8Array> {
  const bytes = new Uint8Array(length);
  if (await disk.readAt(bytes, offsetBytes) === length) return bytes;
  throw new BangerError(
    "corrupt_data",
    `Cannot read the disk: it is cut off before byte ${offsetBytes + length}`,
  );
}
