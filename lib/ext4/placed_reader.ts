import { BangerError } from "../base/errors.ts";
import type { RandomAccessFile } from "../base/host.ts";
import type { ExtentList } from "./extents.ts";
import { BLOCK_SIZE } from "./format.ts";

const CHUNK_BYTES = 256 * BLOCK_SIZE;

/**
 * Reads a file's bytes by its extents, in chunks of up to 1 MiB. A chunk is valid until the next.
 *
 * @throws {BangerError} `corrupt_data` where the disk ends before
 */
export async function* readPlaced(
  file: Pick<RandomAccessFile, "readAt">,
  extents: ExtentList,
  sizeBytes: number,
): AsyncGenerator<Uint8Array> {
  const buffer = new Uint8Array(Math.min(CHUNK_BYTES, sizeBytes));
  let at = 0;
  for (const { logical, physical, length } of extents) {
    const start = logical * BLOCK_SIZE;
    yield* zeros(buffer, start - at);
    const end = Math.min(start + length * BLOCK_SIZE, sizeBytes);
    for (at = start; at < end;) {
      const chunk = buffer.subarray(0, Math.min(buffer.length, end - at));
      if (await file.readAt(chunk, physical * BLOCK_SIZE + at - start) < chunk.length) {
        throw new BangerError("corrupt_data", "Cannot read file content: the disk is cut off");
      }
      yield chunk;
      at += chunk.length;
    }
  }
  yield* zeros(buffer, sizeBytes - at);
}

function* zeros(buffer: Uint8Array, count: number): Generator<Uint8Array> {
  for (let left = count; left > 0;) {
    const chunk = buffer.subarray(0, Math.min(buffer.length, left));
    chunk.fill(0);
    yield chunk;
    left -= chunk.length;
  }
}
