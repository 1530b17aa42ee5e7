import { ForwardBits, highestBit } from "./bits.ts";
import { corruptZstd } from "./errors.ts";

/** A decoding table: what each state stands for, and how to get to the next. */
export interface FseTable {
  readonly accuracyLog: number;
  readonly symbols: Uint8Array;
  /** How many bits to read for the next state. */
  readonly bitCounts: Uint8Array;
  /** What to add to them. */
  readonly baselines: Uint16Array;
}

/**
 * Builds the table for a distribution; -1 stands for "less than one".
 *
 * Source: RFC 8878, section 4.1.1
 */
export function buildFseTable(counts: ArrayLike<number>, accuracyLog: number): FseTable {
  const size = 1 << accuracyLog;
  const symbols = new Uint8Array(size);
  const next = new Uint16Array(counts.length);
  let high = size;
  for (let symbol = 0; symbol < counts.length; symbol++) {
    if (counts[symbol] !== -1) continue;
    symbols[--high] = symbol;
    next[symbol] = 1;
  }
  const step = (size >> 1) + (size >> 3) + 3;
  let position = 0;
  for (let symbol = 0; symbol < counts.length; symbol++) {
    const count = counts[symbol]!;
    if (count <= 0) continue;
    next[symbol] = count;
    for (let i = 0; i < count; i++) {
      symbols[position] = symbol;
      do position = (position + step) & (size - 1); while (position >= high);
    }
  }
  if (position !== 0) throw corruptZstd("a table's distribution is wrong");

  const bitCounts = new Uint8Array(size);
  const baselines = new Uint16Array(size);
  for (let state = 0; state < size; state++) {
    const occurrence = next[symbols[state]!]!++;
    bitCounts[state] = accuracyLog - highestBit(occurrence);
    baselines[state] = (occurrence << bitCounts[state]!) - size;
  }
  return { accuracyLog, symbols, bitCounts, baselines };
}

/** The table with one state. */
export function singleSymbolTable(symbol: number): FseTable {
  return {
    accuracyLog: 0,
    symbols: Uint8Array.of(symbol),
    bitCounts: new Uint8Array(1),
    baselines: new Uint16Array(1),
  };
}

/**
 * Reads a table's description.
 *
 * @param symbolCount how many symbols there can be
 * @returns the table, and the first byte behind its description
 * @throws {BangerError} `corrupt_data`
 * Source: RFC 8878, section 4.1.1
 */
export function readFseTable(
  bytes: Uint8Array,
  start: number,
  end: number,
  maxAccuracyLog: number,
  symbolCount: number,
): { table: FseTable; next: number } {
  const bits = new ForwardBits(bytes, start, end);
  const accuracyLog = bits.read(4) + 5;
  if (accuracyLog > maxAccuracyLog) throw corruptZstd("a table is more exact than allowed");
  const counts: number[] = [];
  let remaining = 1 << accuracyLog;
  while (remaining > 0) {
    if (counts.length >= symbolCount) throw corruptZstd("a table has too many symbols");
    const width = highestBit(remaining + 1) + 1;
    const lowMask = (1 << (width - 1)) - 1;
    const threshold = (1 << width) - 1 - (remaining + 1);
    let value = bits.read(width);
    if ((value & lowMask) < threshold) {
      // Small values take one bit less.
      bits.unreadOne();
      value &= lowMask;
    } else if (value > lowMask) value -= threshold;
    const count = value - 1;
    remaining -= Math.abs(count);
    counts.push(count);
    if (count === 0) readZeros(bits, counts, symbolCount);
  }
  if (remaining < 0) throw corruptZstd("a table's distribution is wrong");
  return { table: buildFseTable(counts, accuracyLog), next: bits.nextByte() };
}

/** Two bits say how many symbols more do not occur; three of them, that two more bits follow. */
function readZeros(bits: ForwardBits, counts: number[], symbolCount: number): void {
  for (;;) {
    const zeros = bits.read(2);
    for (let i = 0; i < zeros; i++) counts.push(0);
    if (counts.length > symbolCount) throw corruptZstd("a table has too many symbols");
    if (zeros < 3) return;
  }
}
