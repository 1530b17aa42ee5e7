import { KIB, MIB } from "../../../base/units.ts";
import type { OpenScratch } from "../scratch.ts";
import { BIT_PADDING_BYTES } from "./bits.ts";
import { corruptZstd } from "./errors.ts";
import { decodeHuffman, type HuffmanTable, readHuffmanTable } from "./huffman.ts";
import { FarWindow } from "./far_window.ts";
import { execute, farMatches, newSequenceState, readSequences, type SequenceState } from "./sequences.ts";

export const MAX_BLOCK_BYTES = 128 * KIB;
/** Written behind the window before it is moved to the front again. */
const MAX_SLACK_BYTES = 8 * MIB;
/**
 * What is kept of a window in memory where there is a place for the rest. Only `--ultra` and `--long` have larger
 * ones, and their matches are mostly near, too.
 */
const MAX_NEAR_BYTES = 8 * MIB;
const NOTHING = new Uint8Array(0);

/**
 * Decodes the blocks of one frame. Memory: the window, or 8 MiB of it where there is a scratch for the rest, and up
 * to as much again, at most 8 MiB more.
 *
 * Source: RFC 8878, section 3.1.1
 */
export class BlockDecoder {
  readonly #windowBytes: number;
  /** Of the window, in memory. */
  readonly #nearBytes: number;
  /** The rest of it. */
  readonly #far: FarWindow | undefined;
  readonly #maxBlockBytes: number;
  readonly #buffer: Uint8Array;
  /** The compressed block with room around it. */
  readonly #block = new Uint8Array(MAX_BLOCK_BYTES + 2 * BIT_PADDING_BYTES);
  readonly #literals = new Uint8Array(MAX_BLOCK_BYTES);
  readonly #sequences: SequenceState = newSequenceState();
  #huffman: HuffmanTable | undefined;
  #end = 0;

  /**
   * @param windowBytes how far back the frame's matches may reach
   * @param openScratch for what is kept of a large window; without it, all of it is in memory
   */
  constructor(windowBytes: number, openScratch: OpenScratch | undefined) {
    this.#windowBytes = windowBytes;
    const isLarge = windowBytes > MAX_NEAR_BYTES && openScratch !== undefined;
    this.#nearBytes = isLarge ? MAX_NEAR_BYTES : windowBytes;
    this.#far = isLarge ? new FarWindow(windowBytes, MAX_BLOCK_BYTES, openScratch) : undefined;
    this.#maxBlockBytes = Math.min(windowBytes, MAX_BLOCK_BYTES);
    const slack = Math.min(Math.max(this.#nearBytes, MAX_BLOCK_BYTES), MAX_SLACK_BYTES);
    this.#buffer = new Uint8Array(this.#nearBytes + slack + MAX_BLOCK_BYTES);
  }

  /** Call before each block. */
  async makeRoom(): Promise<void> {
    if (this.#end + MAX_BLOCK_BYTES <= this.#buffer.length) return;
    const from = this.#end - this.#nearBytes;
    await this.#far?.append(this.#buffer.subarray(0, from));
    this.#buffer.copyWithin(0, from, this.#end);
    this.#end -= from;
  }

  /** @returns the bytes as they are, valid until the next block */
  raw(bytes: Uint8Array): Uint8Array {
    this.#checkSize(bytes.length);
    this.#buffer.set(bytes, this.#end);
    return this.#take(this.#end + bytes.length);
  }

  /** One byte so many times. */
  repeated(byte: number, length: number): Uint8Array {
    this.#checkSize(length);
    this.#buffer.fill(byte, this.#end, this.#end + length);
    return this.#take(this.#end + length);
  }

  /** @throws {BangerError} `corrupt_data` */
  async compressed(bytes: Uint8Array): Promise<Uint8Array> {
    const start = this.#end;
    const block = this.#block;
    block.set(bytes, BIT_PADDING_BYTES);
    const end = BIT_PADDING_BYTES + bytes.length;
    const { literals, next } = this.#readLiterals(BIT_PADDING_BYTES, end);
    const count = readSequences(block, next, end, this.#sequences);
    const farBytes = this.#far?.endBytes ?? 0;
    const target = {
      bytes: this.#buffer,
      start,
      end: start + this.#maxBlockBytes,
      windowStart: Math.max(-farBytes, start - this.#windowBytes),
    };
    const matches = farBytes === 0 ? [] : farMatches(count, this.#sequences, target);
    const far = matches.length === 0 ? NOTHING : await this.#far!.read(matches);
    return this.#take(execute(count, literals, this.#sequences, target, far));
  }

  #checkSize(length: number): void {
    if (length > this.#maxBlockBytes) throw corruptZstd("a block is larger than allowed");
  }

  #take(end: number): Uint8Array {
    const piece = this.#buffer.subarray(this.#end, end);
    this.#end = end;
    return piece;
  }

  /** Source: RFC 8878, section 3.1.1.3.1 */
  #readLiterals(start: number, end: number): { literals: Uint8Array; next: number } {
    const block = this.#block;
    const first = block[start]!;
    const type = first & 3;
    const format = (first >> 2) & 3;
    const isCompressed = type >= 2;
    const headerBytes = isCompressed ? [3, 3, 4, 5][format]! : [1, 2, 1, 3][format]!;
    if (start + headerBytes > end) throw corruptZstd("a block has no literals section");
    if (isCompressed) return this.#readCompressedLiterals(start, end, type === 3, format, headerBytes);

    let size = 0;
    for (let i = headerBytes - 1; i >= 0; i--) size = size * 256 + block[start + i]!;
    size = headerBytes === 1 ? size >> 3 : size >> 4;
    const body = start + headerBytes;
    const next = body + (type === 0 ? size : 1);
    if (size > MAX_BLOCK_BYTES || next > end) throw corruptZstd("literals are cut off");
    if (type === 0) return { literals: block.subarray(body, next), next };
    return { literals: this.#literals.fill(block[body]!, 0, size).subarray(0, size), next };
  }

  #readCompressedLiterals(
    start: number,
    end: number,
    repeatsTree: boolean,
    format: number,
    headerBytes: number,
  ): { literals: Uint8Array; next: number } {
    const block = this.#block;
    const sizeBits = [10, 10, 14, 18][format]!;
    let header = 0;
    for (let i = headerBytes - 1; i >= 0; i--) header = header * 256 + block[start + i]!;
    // Up to 40 bits: beyond what bit operations take.
    const sizes = Math.floor(header / 16);
    const size = sizes % 2 ** sizeBits;
    const next = start + headerBytes + Math.floor(sizes / 2 ** sizeBits);
    if (size > MAX_BLOCK_BYTES || next > end) throw corruptZstd("literals are cut off");
    let at = start + headerBytes;
    if (!repeatsTree) ({ table: this.#huffman, next: at } = readHuffmanTable(block, at, next));
    if (this.#huffman === undefined) throw corruptZstd("a block repeats a Huffman tree that there was not");
    const literals = this.#literals.subarray(0, size);
    if (format === 0) decodeHuffman(this.#huffman, block, at, next, literals, 0, size);
    else decodeFourStreams(this.#huffman, block, at, next, literals);
    return { literals, next };
  }
}

/** Three sizes, then four streams, each of a quarter of the literals. */
function decodeFourStreams(
  table: HuffmanTable,
  block: Uint8Array,
  start: number,
  end: number,
  literals: Uint8Array,
): void {
  const quarter = (literals.length + 3) >> 2;
  let at = start + 6;
  if (at > end || 3 * quarter > literals.length) throw corruptZstd("literals are cut off");
  for (let stream = 0; stream < 4; stream++) {
    const sizeAt = start + 2 * stream;
    const streamEnd = stream < 3 ? at + block[sizeAt]! + (block[sizeAt + 1]! << 8) : end;
    if (streamEnd > end) throw corruptZstd("literals are cut off");
    const from = stream * quarter;
    decodeHuffman(table, block, at, streamEnd, literals, from, stream < 3 ? from + quarter : literals.length);
    at = streamEnd;
  }
}
