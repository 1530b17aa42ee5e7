import { BangerError } from "../base/errors.ts";
import type { RandomAccessFile } from "../base/host.ts";
import type { ExtentList } from "./extents.ts";

const CHUNK_BYTES = 1024 * 1024;

/** Chunks of up to 1 MiB. Each is valid until the next. */
export type Chunks = AsyncGenerator<Uint8Array>;

/**
 * Reads a file's bytes by its extents, holes as zeros.
 *
 * @param extents within the size
 * @throws {BangerError} `corrupt_data` where the disk ends before
 */
export async function* readPlaced(
  file: Pick<RandomAccessFile, "readAt">,
  extents: ExtentList,
  sizeBytes: number,
  blockSize: number,
): Chunks {
  const buffer = new Uint8Array(Math.min(CHUNK_BYTES, sizeBytes));
  let at = 0;
  for (const { logical, physical, length } of extents) {
    const start = logical * blockSize;
    yield* zeros(buffer, start - at);
    at = Math.min(start + length * blockSize, sizeBytes);
    yield* readRun(file, physical * blockSize, at - start, buffer);
  }
  yield* zeros(buffer, sizeBytes - at);
}

/** Reads consecutive bytes of the disk. @throws {BangerError} `corrupt_data` where it ends before */
export async function* readRun(
  file: Pick<RandomAccessFile, "readAt">,
  offsetBytes: number,
  sizeBytes: number,
  buffer: Uint8Array,
): Chunks {
  for (let done = 0; done < sizeBytes;) {
    const chunk = buffer.subarray(0, Math.min(buffer.length, sizeBytes - done));
    if (await file.readAt(chunk, offsetBytes + done) < chunk.length) {
      throw new BangerError("corrupt_data", "Cannot read file content: the disk is cut off");
    }
    yield chunk;
    done += chunk.length;
  }
}

export function* zeros(buffer: Uint8Array, count: number): Generator<Uint8Array> {
  for (let left = count; left > 0;) {
    const chunk = buffer.subarray(0, Math.min(buffer.length, left));
    chunk.fill(0);
    yield chunk;
    left -= chunk.length;
  }
}
