import { MIB } from "../../../base/units.ts";
import type { OpenScratch, Scratch } from "../scratch.ts";
import { ChunkCursor } from "../../tar/chunk_cursor.ts";
import { BlockDecoder, MAX_BLOCK_BYTES } from "./blocks.ts";
import { corruptZstd } from "./errors.ts";

const FRAME_MAGIC = 0xfd2fb528;
/** To 0x184d2a5f. */
const FIRST_SKIPPABLE_MAGIC = 0x184d2a50;
/** What `zstd --long` writes by default, and what it takes without being told. */
const MAX_WINDOW_BYTES = 128 * MIB;

/**
 * Decompresses zstd: one frame or several, skippable ones between them skipped.
 *
 * A decoder of our own: Deno 2.4 has none, and those for JavaScript hold whole files, or copy the window for
 * each block. Frames' checksums are not checked: a layer's diff ID says more.
 *
 * @param openScratch for what does not fit memory of large windows; without it, they are held in memory. What it
 * opened is closed at the end
 * @returns chunks of up to 128 KiB, each valid until the next is asked for
 * @throws {BangerError} `corrupt_data`
 * Source: RFC 8878, section 3
 */
export async function* unzstd(
  input: AsyncIterable<Uint8Array>,
  openScratch?: OpenScratch,
): AsyncGenerator<Uint8Array> {
  const cursor = new ChunkCursor(input);
  await using ends = new AsyncDisposableStack();
  let scratch: Scratch | undefined;
  const openOnce = openScratch && (async () => scratch ??= ends.use(await openScratch()));
  try {
    for (;;) {
      const magic = await cursor.take(4);
      if (magic.length === 0) return;
      const value = littleEndian(magic, 4);
      if ((value & 0xfffffff0) >>> 0 === FIRST_SKIPPABLE_MAGIC) {
        const length = littleEndian(await cursor.take(4), 4);
        if (await cursor.skip(length) < length) throw corruptZstd("it ends inside a skippable frame");
      } else if (value === FRAME_MAGIC) yield* readFrame(cursor, openOnce);
      else throw corruptZstd("something else follows a frame");
    }
  } finally {
    await cursor.close();
  }
}

interface FrameHeader {
  readonly windowBytes: number;
  readonly contentBytes: number | undefined;
  readonly hasChecksum: boolean;
}

async function* readFrame(
  cursor: ChunkCursor,
  openScratch: OpenScratch | undefined,
): AsyncGenerator<Uint8Array> {
  const { windowBytes, contentBytes, hasChecksum } = await readHeader(cursor);
  const decoder = new BlockDecoder(windowBytes, openScratch);
  let outputBytes = 0;
  for (let isLast = false; !isLast;) {
    const header = littleEndian(await exactly(cursor, 3), 3);
    isLast = (header & 1) !== 0;
    const chunk = await readBlock(cursor, decoder, (header >> 1) & 3, header >> 3);
    outputBytes += chunk.length;
    if (chunk.length > 0) yield chunk;
  }
  if (contentBytes !== undefined && outputBytes !== contentBytes) {
    throw corruptZstd("a frame does not have the size that it says");
  }
  if (hasChecksum) await exactly(cursor, 4);
}

async function readBlock(
  cursor: ChunkCursor,
  decoder: BlockDecoder,
  type: number,
  length: number,
): Promise<Uint8Array> {
  if (type === 3) throw corruptZstd("a block has a reserved type");
  if (length > MAX_BLOCK_BYTES) throw corruptZstd("a block is larger than 128 KiB");
  await decoder.makeRoom();
  if (type === 1) return decoder.repeated((await exactly(cursor, 1))[0]!, length);
  const body = await exactly(cursor, length);
  return type === 0 ? decoder.raw(body) : await decoder.compressed(body);
}

async function readHeader(cursor: ChunkCursor): Promise<FrameHeader> {
  const descriptor = (await exactly(cursor, 1))[0]!;
  const isSingleSegment = (descriptor & 0x20) !== 0;
  const sizeFlag = descriptor >> 6;
  const sizeFieldBytes = sizeFlag === 0 ? (isSingleSegment ? 1 : 0) : 1 << sizeFlag;
  if ((descriptor & 0x08) !== 0) throw corruptZstd("a reserved bit is set");
  if ((descriptor & 0x03) !== 0) throw corruptZstd("it needs a dictionary");
  const rest = await exactly(cursor, (isSingleSegment ? 0 : 1) + sizeFieldBytes);
  const sizeField = isSingleSegment ? rest : rest.subarray(1);
  const contentBytes = sizeFieldBytes === 0
    ? undefined
    : littleEndian(sizeField, sizeFieldBytes) + (sizeFlag === 1 ? 256 : 0);
  // A single segment's window is its content: a small one cannot harm, a large one must not be held.
  const windowBytes = isSingleSegment ? contentBytes! : windowSize(rest[0]!);
  if (windowBytes > MAX_WINDOW_BYTES) throw corruptZstd("its window is larger than 128 MiB");
  return { windowBytes, contentBytes, hasChecksum: (descriptor & 0x04) !== 0 };
}

function windowSize(field: number): number {
  const base = 2 ** (10 + (field >> 3));
  return base + base / 8 * (field & 7);
}

function littleEndian(bytes: Uint8Array, length: number): number {
  if (bytes.length < length) throw corruptZstd("it ends inside a header");
  let value = 0;
  for (let i = length - 1; i >= 0; i--) value = value * 256 + bytes[i]!;
  return value;
}

async function exactly(cursor: ChunkCursor, length: number): Promise<Uint8Array> {
  const bytes = await cursor.take(length);
  if (bytes.length < length) throw corruptZstd("it ends inside a frame");
  return bytes;
}
