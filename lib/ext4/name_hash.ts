import type { ByteString } from "../base/tree.ts";

/** `s_def_hash_version`; with `s_flags` "signed", name bytes are signed as on x86. */
export const HASH_HALF_MD4 = 1;

/** Of the name that is being hashed. */
const STATE = new Int32Array(4);
const BLOCK = new Int32Array(8);

export interface NameHash {
  /** Lowest bit zero: it marks a collision that goes on in the next leaf. */
  readonly major: number;
  readonly minor: number;
}

/**
 * The hash that orders a large directory's entries: half MD4 over signed bytes.
 *
 * @param seed `s_hash_seed` as four little-endian words, not all zero
 * Source: Linux fs/ext4/hash.c, `__ext4fs_dirhash`
 */
export function hashName(name: ByteString, seed: Uint32Array): NameHash {
  const state = STATE;
  const block = BLOCK;
  state.set(seed);
  for (let at = 0; at < name.length; at += 32) {
    packSigned(name, at, block);
    halfMd4(state, block);
  }
  const major = (state[1]! & ~1) >>> 0;
  // The highest value would read as the end of the directory.
  return { major: major === 0xfffffffe ? 0xfffffffc : major, minor: state[2]! >>> 0 };
}

/** `str2hashbuf_signed`: up to 32 bytes from `start` as eight words, padded with the length left. */
function packSigned(name: ByteString, start: number, block: Int32Array): void {
  const left = name.length - start;
  let pad = left | (left << 8);
  pad |= pad << 16;
  const length = Math.min(left, 32);
  let word = pad;
  let filled = 0;
  for (let i = 0; i < length; i++) {
    const signed = (name.charCodeAt(start + i) << 24) >> 24;
    word = (signed + (word << 8)) | 0;
    if (i % 4 === 3) {
      block[filled++] = word;
      word = pad;
    }
  }
  if (filled < 8) block[filled++] = word;
  while (filled < 8) block[filled++] = pad;
}

function rotate(value: number, bits: number): number {
  return (value << bits) | (value >>> (32 - bits));
}

/** One round: which of the eight words in which order, the constant, the four rotations. */
const ROUNDS = [
  { order: [0, 1, 2, 3, 4, 5, 6, 7], constant: 0, rotations: [3, 7, 11, 19] },
  { order: [1, 3, 5, 7, 0, 2, 4, 6], constant: 0o13240474631, rotations: [3, 5, 9, 13] },
  { order: [3, 7, 2, 6, 1, 5, 0, 4], constant: 0o15666365641, rotations: [3, 9, 11, 15] },
] as const;

function halfMd4(state: Int32Array, block: Int32Array): void {
  let a = state[0]!;
  let b = state[1]!;
  let c = state[2]!;
  let d = state[3]!;
  for (let round = 0; round < 3; round++) {
    const { order, constant, rotations } = ROUNDS[round]!;
    for (let step = 0; step < 8; step++) {
      const mixed = round === 0 ? d ^ (b & (c ^ d)) : round === 1 ? ((b & c) + ((b ^ c) & d)) | 0 : b ^ c ^ d;
      const sum = (a + mixed + block[order[step]!]! + constant) | 0;
      a = d;
      d = c;
      c = b;
      b = rotate(sum, rotations[step % 4]!);
    }
  }
  state[0] = (state[0]! + a) | 0;
  state[1] = (state[1]! + b) | 0;
  state[2] = (state[2]! + c) | 0;
  state[3] = (state[3]! + d) | 0;
}
