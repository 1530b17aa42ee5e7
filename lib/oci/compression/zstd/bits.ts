import { corruptZstd } from "./errors.ts";

/**
 * Room that must lie in front of and behind every buffer that bits are read from: readers take four bytes at a
 * time, and may look past the beginning before they notice.
 */
export const BIT_PADDING_BYTES = 16;

/** Bits as FSE table descriptions have them: the lowest bit of the first byte first. */
export class ForwardBits {
  readonly #bytes: Uint8Array;
  readonly #end: number;
  #position: number;

  constructor(bytes: Uint8Array, start: number, end: number) {
    this.#bytes = bytes;
    this.#position = start * 8;
    this.#end = end * 8;
  }

  /** @param count at most 16 */
  read(count: number): number {
    if (this.#position + count > this.#end) throw corruptZstd("a table description is cut off");
    const value = load32(this.#bytes, this.#position >> 3) >>> (this.#position & 7);
    this.#position += count;
    return value & ((1 << count) - 1);
  }

  /** Gives the last bit back. */
  unreadOne(): void {
    this.#position--;
  }

  /** The first byte that no bit was read from. */
  nextByte(): number {
    return (this.#position + 7) >> 3;
  }
}

/**
 * Where the bits of a backward stream end: below the highest set bit of its last byte.
 *
 * @returns the number of bits, counted from the first byte of `bytes`
 * @throws {BangerError} `corrupt_data` without such a bit
 * Source: RFC 8878, section 4.1
 */
export function backwardStart(bytes: Uint8Array, start: number, end: number): number {
  const last = end > start ? bytes[end - 1]! : 0;
  if (last === 0) throw corruptZstd("a bit stream has no end mark");
  return end * 8 - Math.clz32(last) + 24 - 1;
}

/** Four bytes, little-endian. */
export function load32(bytes: Uint8Array, at: number): number {
  return bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
}

/** At most 25 bits from a position on. */
export function bitsAt(bytes: Uint8Array, position: number, count: number): number {
  return (load32(bytes, position >> 3) >>> (position & 7)) & ((1 << count) - 1);
}

/** Of a number above zero: 0 for 1, 1 for 2 and 3, … */
export function highestBit(value: number): number {
  return 31 - Math.clz32(value);
}
