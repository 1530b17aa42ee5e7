import { Decompress } from "fzstd";
import { BangerError } from "../../base/errors.ts";
import { KIB, MIB } from "../../base/units.ts";
import { ChunkCursor } from "../tar/chunk_cursor.ts";

const FRAME_MAGIC = 0xfd2fb528;
/** To 0x184d2a5f. */
const FIRST_SKIPPABLE_MAGIC = 0x184d2a50;
/** What `zstd --long` writes by default, and what it takes without being told: a decoder holds all of it. */
const MAX_WINDOW_BYTES = 128 * MIB;
const MAX_BLOCK_BYTES = 128 * KIB;

/**
 * Decompresses zstd: one frame or several, skippable ones between them skipped.
 *
 * The decoder trusts the window size that a frame asks for, so frames are taken apart here first. It does not
 * check a frame's checksum either: the layer's diff ID does.
 *
 * @throws {BangerError} `corrupt_data`
 * Source: RFC 8878, section 3
 */
export async function* unzstd(input: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const cursor = new ChunkCursor(input);
  const decoded: Uint8Array[] = [];
  try {
    for (;;) {
      const magic = await cursor.take(4);
      if (magic.length === 0) return;
      const value = number(magic, 4);
      if ((value & 0xfffffff0) >>> 0 === FIRST_SKIPPABLE_MAGIC) {
        const length = number(await cursor.take(4), 4);
        if (await cursor.skip(length) < length) throw corrupt("it ends inside a skippable frame");
        continue;
      }
      if (value !== FRAME_MAGIC) throw corrupt("something else follows a frame");
      // One decoder a frame: nothing of a frame before can leak into it.
      const decoder = new Decompress((chunk) => {
        if (chunk.length > 0) decoded.push(chunk);
      });
      for await (const piece of frame(cursor)) {
        decode(decoder, piece.bytes, piece.isLast);
        yield* decoded.splice(0);
      }
    }
  } finally {
    await cursor.close();
  }
}

/** @param isLast the decoder keeps back a frame of a few bytes until it is told */
function decode(decoder: Decompress, bytes: Uint8Array, isLast: boolean): void {
  try {
    decoder.push(bytes, isLast);
  } catch (failure) {
    throw corrupt("a block is damaged", failure);
  }
}

/** The bytes of one frame, piece by piece, after its magic was read and with it again. */
async function* frame(cursor: ChunkCursor): AsyncGenerator<{ bytes: Uint8Array; isLast: boolean }> {
  const descriptor = (await exactly(cursor, 1))[0]!;
  const isSingleSegment = (descriptor & 0x20) !== 0;
  const windowFieldBytes = isSingleSegment ? 0 : 1;
  const dictionaryBytes = [0, 1, 2, 4][descriptor & 3]!;
  const sizeFlag = descriptor >> 6;
  const sizeBytes = sizeFlag === 0 ? (isSingleSegment ? 1 : 0) : 1 << sizeFlag;
  if ((descriptor & 0x08) !== 0) throw corrupt("a reserved bit is set");
  if (dictionaryBytes !== 0) throw corrupt("it needs a dictionary");

  const rest = (await exactly(cursor, windowFieldBytes + sizeBytes)).slice();
  const window = isSingleSegment ? contentSize(rest, sizeFlag) : windowSize(rest[0]!);
  // A single segment's window is its content: small content cannot harm, large must not be held.
  if (window > MAX_WINDOW_BYTES) throw corrupt("its window is larger than 128 MiB");
  yield { bytes: Uint8Array.of(0x28, 0xb5, 0x2f, 0xfd, descriptor, ...rest), isLast: false };
  const checksumBytes = (descriptor & 0x04) === 0 ? 0 : 4;

  for (let isLast = false; !isLast;) {
    const header = (await exactly(cursor, 3)).slice();
    const bits = number(header, 3);
    isLast = (bits & 1) !== 0;
    const type = (bits >> 1) & 3;
    const length = bits >> 3;
    if (type === 3) throw corrupt("a block has a reserved type");
    if (length > MAX_BLOCK_BYTES) throw corrupt("a block is larger than 128 KiB");
    const bodyBytes = (type === 1 ? 1 : length) + (isLast ? checksumBytes : 0);
    const body = await exactly(cursor, bodyBytes);
    const bytes = new Uint8Array(3 + body.length);
    bytes.set(header);
    bytes.set(body, 3);
    yield { bytes, isLast };
  }
}

function windowSize(field: number): number {
  const base = 2 ** (10 + (field >> 3));
  return base + base / 8 * (field & 7);
}

function contentSize(field: Uint8Array, flag: number): number {
  return number(field, field.length) + (flag === 1 ? 256 : 0);
}

/** Little-endian. */
function number(bytes: Uint8Array, length: number): number {
  if (bytes.length < length) throw corrupt("it ends inside a header");
  let value = 0;
  for (let i = length - 1; i >= 0; i--) value = value * 256 + bytes[i]!;
  return value;
}

async function exactly(cursor: ChunkCursor, length: number): Promise<Uint8Array> {
  const bytes = await cursor.take(length);
  if (bytes.length < length) throw corrupt("it ends inside a frame");
  return bytes;
}

function corrupt(why: string, cause?: unknown): BangerError {
  return new BangerError(
    "corrupt_data",
    `Cannot decompress zstd data: ${why}`,
    "Fetch or make the file again",
    { cause },
  );
}
