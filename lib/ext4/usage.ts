import { BLOCKS_PER_GROUP } from "./format.ts";

const ONES = Uint8Array.from({ length: 256 }, (_, byte) => byte.toString(2).replaceAll("0", "").length);

/** Which blocks are in use, as the block bitmaps of the groups that have any. */
export class BlockUsage {
  readonly #groups = new Map<number, Uint8Array>();

  /** Marks `count` blocks from `start`. */
  mark(start: number, count: number): void {
    for (let at = start; at < start + count;) {
      const group = Math.floor(at / BLOCKS_PER_GROUP);
      const end = Math.min(start + count, (group + 1) * BLOCKS_PER_GROUP);
      setBits(this.group(group), at - group * BLOCKS_PER_GROUP, end - at);
      at = end;
    }
  }

  /** One group's bitmap: 4096 bytes, changed by later marks. */
  group(group: number): Uint8Array {
    let bits = this.#groups.get(group);
    if (!bits) this.#groups.set(group, bits = new Uint8Array(BLOCKS_PER_GROUP / 8));
    return bits;
  }
}

/** Sets `count` bits from bit `start`, lowest bit of each byte first. */
export function setBits(bits: Uint8Array, start: number, count: number): void {
  const end = start + count;
  let at = start;
  for (; at < end && at % 8 !== 0; at++) bits[at >>> 3]! |= 1 << (at % 8);
  const wholeEnd = end - (end % 8);
  if (at < wholeEnd) {
    bits.fill(0xff, at / 8, wholeEnd / 8);
    at = wholeEnd;
  }
  for (; at < end; at++) bits[at >>> 3]! |= 1 << (at % 8);
}

export function countOnes(bits: Uint8Array): number {
  let count = 0;
  for (const byte of bits) count += ONES[byte]!;
  return count;
}
