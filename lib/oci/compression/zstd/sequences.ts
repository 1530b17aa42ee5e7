import { KIB } from "../../../base/units.ts";
import { backwardStart, bitsAt } from "./bits.ts";
import { corruptZstd } from "./errors.ts";
import { buildFseTable, type FseTable, readFseTable, singleSymbolTable } from "./fse.ts";

/** One of the three codes of a sequence. Source: RFC 8878, section 3.1.1.3.2 and appendix A */
interface CodeKind {
  readonly symbolCount: number;
  readonly maxAccuracyLog: number;
  readonly predefined: FseTable;
}

// deno-fmt-ignore
const LITERAL_LENGTHS: CodeKind = {
  symbolCount: 36,
  maxAccuracyLog: 9,
  predefined: buildFseTable([
    4, 3, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 3, 2, 1, 1, 1, 1, 1, -1, -1, -1, -1,
  ], 6),
};
// deno-fmt-ignore
const MATCH_LENGTHS: CodeKind = {
  symbolCount: 53,
  maxAccuracyLog: 9,
  predefined: buildFseTable([
    1, 4, 3, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
    1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1, -1, -1,
  ], 6),
};
// deno-fmt-ignore
const OFFSETS: CodeKind = {
  symbolCount: 32,
  maxAccuracyLog: 8,
  predefined: buildFseTable([
    1, 1, 1, 1, 1, 1, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1,
  ], 5),
};

const LITERAL_LENGTH_BITS = Uint8Array.from(
  [...Array(16).fill(0), 1, 1, 1, 1, 2, 2, 3, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16],
);
const MATCH_LENGTH_BITS = Uint8Array.from(
  [...Array(32).fill(0), 1, 1, 1, 1, 2, 2, 3, 3, 4, 4, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16],
);
const LITERAL_LENGTH_BASES = basesOf(LITERAL_LENGTH_BITS, 0);
const MATCH_LENGTH_BASES = basesOf(MATCH_LENGTH_BITS, 3);

/** Each code begins where the one before ends. */
function basesOf(bitCounts: Uint8Array, first: number): Uint32Array {
  const bases = new Uint32Array(bitCounts.length);
  let base = first;
  for (const [code, bitCount] of bitCounts.entries()) {
    bases[code] = base;
    base += 2 ** bitCount;
  }
  return bases;
}

/** A match has three bytes at least, and a block 128 KiB at most. */
const MAX_SEQUENCES = Math.floor(128 * KIB / 3);
/** For the largest window that is allowed, 128 MiB. */
const MAX_OFFSET_CODE = 28;

/** What sequences of one block leave for the next in their frame, and room to decode them in. */
export interface SequenceState {
  literalLengths?: FseTable;
  offsets?: FseTable;
  matchLengths?: FseTable;
  /** The last three offsets, newest first. */
  readonly recent: Uint32Array;
  /** Of each match from its source; while they are read, the values that stand for them. */
  readonly distances: Uint32Array;
  readonly matchSizes: Uint32Array;
  readonly literalSizes: Uint32Array;
}

export function newSequenceState(): SequenceState {
  return {
    recent: Uint32Array.of(1, 4, 8),
    distances: new Uint32Array(MAX_SEQUENCES),
    matchSizes: new Uint32Array(MAX_SEQUENCES),
    literalSizes: new Uint32Array(MAX_SEQUENCES),
  };
}

/** Where sequences write, and how far back they may reach. */
export interface Target {
  readonly bytes: Uint8Array;
  /** Where this block begins. */
  readonly start: number;
  /** How far it may go. */
  readonly end: number;
  /** The first byte of the window that there is; below zero where a part of it is no longer in `bytes`. */
  readonly windowStart: number;
}

/**
 * Decodes the sequences section of a block: how they are to be carried out is in `state` then.
 *
 * @param bytes the block; bits are read from it, so it needs padding around it
 * @returns how many there are
 * @throws {BangerError} `corrupt_data`
 * Source: RFC 8878, section 3.1.1.3.2
 */
export function readSequences(
  bytes: Uint8Array,
  start: number,
  end: number,
  state: SequenceState,
): number {
  const { count, next } = readCount(bytes, start, end);
  if (count === 0) {
    if (next !== end) throw corruptZstd("something follows a block's literals");
    return 0;
  }
  if (count > MAX_SEQUENCES) throw corruptZstd("a block is larger than allowed");
  const first = readTables(bytes, next, end, state);
  decodeSequences(bytes, first, end, count, state);
  const { recent, distances, literalSizes } = state;
  for (let i = 0; i < count; i++) distances[i] = nextOffset(recent, distances[i]!, literalSizes[i]!);
  return count;
}

/** Bytes before the first one that is in memory. */
export interface FarMatch {
  /** How far before it. */
  readonly back: number;
  readonly length: number;
}

/** What sequences take from before the target's memory, in their order. @throws {BangerError} `corrupt_data` */
export function farMatches(count: number, state: SequenceState, target: Target): FarMatch[] {
  const { distances, matchSizes, literalSizes } = state;
  const found: FarMatch[] = [];
  let at = target.start;
  for (let i = 0; i < count; i++) {
    const matchAt = at + literalSizes[i]!;
    const from = matchAt - distances[i]!;
    at = matchAt + matchSizes[i]!;
    if (at > target.end) throw corruptZstd("a block is larger than allowed");
    if (from < target.windowStart) throw corruptZstd("an offset leads out of the window");
    if (from < 0) found.push({ back: -from, length: Math.min(-from, matchSizes[i]!) });
  }
  return found;
}

function readCount(bytes: Uint8Array, start: number, end: number): { count: number; next: number } {
  const byte = start < end ? bytes[start]! : 256;
  const length = byte < 128 ? 1 : byte < 255 ? 2 : 3;
  if (start + length > end) throw corruptZstd("a block has no sequences section");
  if (byte < 128) return { count: byte, next: start + 1 };
  if (byte < 255) return { count: ((byte - 128) << 8) + bytes[start + 1]!, next: start + 2 };
  return { count: bytes[start + 1]! + (bytes[start + 2]! << 8) + 0x7f00, next: start + 3 };
}

/** @returns where the bit stream begins */
function readTables(bytes: Uint8Array, start: number, end: number, state: SequenceState): number {
  if (start >= end) throw corruptZstd("a block has no sequences section");
  const modes = bytes[start]!;
  if ((modes & 3) !== 0) throw corruptZstd("a reserved bit is set");
  let at = start + 1;
  const read = (mode: number, kind: CodeKind, before: FseTable | undefined): FseTable => {
    if (mode === 0) return kind.predefined;
    if (mode === 3) {
      if (before === undefined) throw corruptZstd("a block repeats a table that there was not");
      return before;
    }
    if (mode === 1) {
      const symbol = at < end ? bytes[at++]! : Infinity;
      if (symbol >= kind.symbolCount) throw corruptZstd("a code is unknown");
      return singleSymbolTable(symbol);
    }
    const { table, next } = readFseTable(bytes, at, end, kind.maxAccuracyLog, kind.symbolCount);
    at = next;
    return table;
  };
  state.literalLengths = read(modes >> 6, LITERAL_LENGTHS, state.literalLengths);
  state.offsets = read((modes >> 4) & 3, OFFSETS, state.offsets);
  state.matchLengths = read((modes >> 2) & 3, MATCH_LENGTHS, state.matchLengths);
  return at;
}

/**
 * Decodes a block's sequences: offset value, match length and literal length of each. Bits are taken without a
 * call that keeps the position, since this is where decompression spends its time.
 */
function decodeSequences(
  bytes: Uint8Array,
  start: number,
  end: number,
  count: number,
  state: SequenceState,
): void {
  const { distances, matchSizes, literalSizes } = state;
  const literalTable = state.literalLengths!;
  const offsetTable = state.offsets!;
  const matchTable = state.matchLengths!;
  const origin = start * 8;
  let position = backwardStart(bytes, start, end);
  let literalState = bitsAt(bytes, position -= literalTable.accuracyLog, literalTable.accuracyLog);
  let offsetState = bitsAt(bytes, position -= offsetTable.accuracyLog, offsetTable.accuracyLog);
  let matchState = bitsAt(bytes, position -= matchTable.accuracyLog, matchTable.accuracyLog);
  for (let i = 0;; i++) {
    const offsetCode = offsetTable.symbols[offsetState]!;
    if (offsetCode > MAX_OFFSET_CODE) throw corruptZstd("an offset is larger than any window");
    // More bits than one load gives: in two steps.
    const lowBits = offsetCode > 16 ? offsetCode - 16 : 0;
    const highPart = bitsAt(bytes, position -= offsetCode - lowBits, offsetCode - lowBits) << lowBits;
    distances[i] = (1 << offsetCode) + highPart + bitsAt(bytes, position -= lowBits, lowBits);
    const matchCode = matchTable.symbols[matchState]!;
    const matchBits = MATCH_LENGTH_BITS[matchCode]!;
    matchSizes[i] = MATCH_LENGTH_BASES[matchCode]! + bitsAt(bytes, position -= matchBits, matchBits);
    const literalCode = literalTable.symbols[literalState]!;
    const literalBits = LITERAL_LENGTH_BITS[literalCode]!;
    literalSizes[i] = LITERAL_LENGTH_BASES[literalCode]! +
      bitsAt(bytes, position -= literalBits, literalBits);
    if (i === count - 1) break;

    const literalNext = literalTable.bitCounts[literalState]!;
    literalState = literalTable.baselines[literalState]! +
      bitsAt(bytes, position -= literalNext, literalNext);
    const matchNext = matchTable.bitCounts[matchState]!;
    matchState = matchTable.baselines[matchState]! + bitsAt(bytes, position -= matchNext, matchNext);
    const offsetNext = offsetTable.bitCounts[offsetState]!;
    offsetState = offsetTable.baselines[offsetState]! + bitsAt(bytes, position -= offsetNext, offsetNext);
    if (position < origin) throw corruptZstd("sequences are cut off");
  }
  if (position !== origin) throw corruptZstd("sequences do not end where they should");
}

/**
 * Carries sequences out: copies literals and matches.
 *
 * @param literals of this block
 * @param far what `farMatches` found, read
 * @returns where in the target the block ends
 * @throws {BangerError} `corrupt_data`
 */
export function execute(
  count: number,
  literals: Uint8Array,
  state: SequenceState,
  target: Target,
  far: Uint8Array,
): number {
  const { distances, matchSizes, literalSizes } = state;
  const { bytes: out, windowStart } = target;
  let at = target.start;
  let literalAt = 0;
  let farAt = 0;
  for (let i = 0; i < count; i++) {
    const literalSize = literalSizes[i]!;
    const matchSize = matchSizes[i]!;
    const distance = distances[i]!;
    const matchAt = at + literalSize;
    if (literalAt + literalSize > literals.length || matchAt + matchSize > target.end) {
      throw corruptZstd("a block is larger than allowed");
    }
    if (distance === 0 || distance > matchAt - windowStart) {
      throw corruptZstd("an offset leads out of the window");
    }
    copyLiterals(literals, literalAt, literalSize, out, at);
    literalAt += literalSize;
    at = matchAt + matchSize;
    if (distance <= matchAt) copyMatch(out, matchAt, distance, matchSize);
    else {
      // What lies before the memory, then what follows it at the memory's beginning.
      const farSize = Math.min(matchSize, distance - matchAt);
      out.set(far.subarray(farAt, farAt += farSize), matchAt);
      copyMatch(out, matchAt + farSize, distance, matchSize - farSize);
    }
  }
  return appendLiterals(literals, literalAt, target, at);
}

/** Values up to three stand for recent offsets. Source: RFC 8878, section 3.1.1.5 */
function nextOffset(recent: Uint32Array, value: number, literalSize: number): number {
  let offset: number;
  // Without literals the newest offset makes no sense: the others move up.
  const which = value > 3 ? 4 : literalSize === 0 ? value + 1 : value;
  if (value > 3) offset = value - 3;
  else if (which === 4) offset = recent[0]! - 1;
  else offset = recent[which - 1]!;
  if (which > 2) recent[2] = recent[1]!;
  if (which > 1) {
    recent[1] = recent[0]!;
    recent[0] = offset;
  }
  return offset;
}

/** A call costs more than a loop over a few bytes. */
const LOOP_BYTES = 48;

function copyLiterals(from: Uint8Array, fromAt: number, length: number, to: Uint8Array, toAt: number): void {
  if (length > LOOP_BYTES) to.set(from.subarray(fromAt, fromAt + length), toAt);
  else for (let i = 0; i < length; i++) to[toAt + i] = from[fromAt + i]!;
}

function copyMatch(bytes: Uint8Array, at: number, offset: number, length: number): void {
  const from = at - offset;
  // A match may reach into what it writes itself: then the order of the bytes matters.
  if (length > LOOP_BYTES && offset >= length) bytes.copyWithin(at, from, from + length);
  else if (offset === 1) bytes.fill(bytes[from]!, at, at + length);
  else for (let i = 0; i < length; i++) bytes[at + i] = bytes[from + i]!;
}

function appendLiterals(literals: Uint8Array, from: number, target: Target, at: number): number {
  const rest = literals.subarray(from);
  if (at + rest.length > target.end) throw corruptZstd("a block is larger than allowed");
  target.bytes.set(rest, at);
  return at + rest.length;
}
