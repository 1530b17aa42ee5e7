import { backwardStart, highestBit, load32 } from "./bits.ts";
import { corruptZstd } from "./errors.ts";
import { readFseTable } from "./fse.ts";

const MAX_BITS = 11;
const MAX_WEIGHT_ACCURACY_LOG = 6;

/** Codes of a Huffman tree by their next `maxBits` bits: the symbol, and above it the length. */
export interface HuffmanTable {
  readonly maxBits: number;
  readonly entries: Uint16Array;
}

/**
 * Reads a tree's description.
 *
 * @returns the table, and the first byte behind its description
 * @throws {BangerError} `corrupt_data`
 * Source: RFC 8878, section 4.2.1
 */
export function readHuffmanTable(
  bytes: Uint8Array,
  start: number,
  end: number,
): { table: HuffmanTable; next: number } {
  if (start >= end) throw corruptZstd("a Huffman tree is missing");
  const header = bytes[start]!;
  const first = start + 1;
  const next = first + (header < 128 ? header : (header - 127 + 1) >> 1);
  if (next > end) throw corruptZstd("a Huffman tree is cut off");
  const weights = header < 128 ? readWeights(bytes, first, next) : directWeights(bytes, first, header - 127);
  return { table: tableOf(weights), next };
}

function directWeights(bytes: Uint8Array, start: number, count: number): number[] {
  return Array.from({ length: count }, (_, i) => {
    const byte = bytes[start + (i >> 1)]!;
    return i % 2 === 0 ? byte >> 4 : byte & 15;
  });
}

/** Two states take turns; the stream ends when one would need bits that are not there. */
function readWeights(bytes: Uint8Array, start: number, end: number): number[] {
  const { table, next } = readFseTable(bytes, start, end, MAX_WEIGHT_ACCURACY_LOG, 256);
  const origin = next * 8;
  let position = backwardStart(bytes, next, end);
  const read = (count: number) => {
    position -= count;
    return (load32(bytes, position >> 3) >>> (position & 7)) & ((1 << count) - 1);
  };
  const states = [read(table.accuracyLog), read(table.accuracyLog)];
  if (position < origin) throw corruptZstd("a Huffman tree is cut off");
  const weights: number[] = [];
  for (let turn = 0;; turn ^= 1) {
    const state = states[turn]!;
    weights.push(table.symbols[state]!);
    if (weights.length > 254) throw corruptZstd("a Huffman tree has too many symbols");
    states[turn] = table.baselines[state]! + read(table.bitCounts[state]!);
    if (position >= origin) continue;
    weights.push(table.symbols[states[turn ^ 1]!]!);
    return weights;
  }
}

/** The last symbol's weight is what is missing to a power of two. */
function tableOf(weights: readonly number[]): HuffmanTable {
  let sum = 0;
  for (const weight of weights) {
    if (weight > MAX_BITS) throw corruptZstd("a Huffman code is too long");
    sum += weight === 0 ? 0 : 1 << (weight - 1);
  }
  if (sum === 0) throw corruptZstd("a Huffman tree is empty");
  const maxBits = highestBit(sum) + 1;
  const missing = (1 << maxBits) - sum;
  if (maxBits > MAX_BITS || (missing & (missing - 1)) !== 0) {
    throw corruptZstd("a Huffman tree does not add up");
  }
  const all = [...weights, highestBit(missing) + 1];

  const entries = new Uint16Array(1 << maxBits);
  let at = 0;
  // Low weights are long codes, and come first; within a weight symbols are in order.
  for (let weight = 1; weight <= maxBits; weight++) {
    for (let symbol = 0; symbol < all.length; symbol++) {
      if (all[symbol] !== weight) continue;
      const span = 1 << (weight - 1);
      entries.fill(symbol | ((maxBits + 1 - weight) << 8), at, at + span);
      at += span;
    }
  }
  return { maxBits, entries };
}

/**
 * Decodes one stream into `target`, which it must fill exactly.
 *
 * @throws {BangerError} `corrupt_data`
 */
export function decodeHuffman(
  { maxBits, entries }: HuffmanTable,
  bytes: Uint8Array,
  start: number,
  end: number,
  target: Uint8Array,
  targetStart: number,
  targetEnd: number,
): void {
  let position = backwardStart(bytes, start, end);
  const origin = start * 8;
  const mask = (1 << maxBits) - 1;
  let at = targetStart;
  // A load gives 25 bits whatever the position: enough for two codes.
  const shift = 25 - maxBits;
  while (at + 1 < targetEnd) {
    const low = position - 25;
    const loaded = load32(bytes, low >> 3) >>> (low & 7);
    const first = entries[(loaded >>> shift) & mask]!;
    const firstBits = first >> 8;
    const second = entries[(loaded >>> (shift - firstBits)) & mask]!;
    target[at] = first;
    target[at + 1] = second;
    at += 2;
    position -= firstBits + (second >> 8);
    if (position < origin) throw corruptZstd("literals are cut off");
  }
  if (at < targetEnd) {
    const low = position - maxBits;
    const entry = entries[(load32(bytes, low >> 3) >>> (low & 7)) & mask]!;
    target[at] = entry;
    position -= entry >> 8;
  }
  if (position !== origin) throw corruptZstd("literals do not end where they should");
}
