import { BangerError } from "../base/errors.ts";

const LEGACY_MAGIC = 0x184c2102;
/** Each block but the last holds exactly that much. */
const LEGACY_BLOCK_BYTES = 8 * 1024 * 1024;
/** lz4's worst case for one block. */
const MAX_COMPRESSED_BLOCK_BYTES = LEGACY_BLOCK_BYTES + LEGACY_BLOCK_BYTES / 255 + 16;

/**
 * Decodes a legacy LZ4 frame, which is what Linux puts kernels in; a block of at most 8 MiB at a time.
 * The yielded buffer is used again for the next block.
 *
 * @throws {BangerError} `corrupt_data`
 * Source: lz4 doc/lz4_Frame_format.md, "Legacy frame"; doc/lz4_Block_format.md
 */
export function* decodeLz4Legacy(frame: Uint8Array): Generator<Uint8Array> {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  if (frame.length < 4 || view.getUint32(0, true) !== LEGACY_MAGIC) throw corrupt("it has no LZ4 header");
  const output = new Uint8Array(LEGACY_BLOCK_BYTES);
  for (let at = 4; at < frame.length;) {
    if (at + 4 > frame.length) throw corrupt("it ends too early");
    const size = view.getUint32(at, true);
    at += 4;
    if (size === LEGACY_MAGIC) continue; // frames may follow one another
    if (size === 0 || size > MAX_COMPRESSED_BLOCK_BYTES || at + size > frame.length) {
      throw corrupt("a block's size makes no sense");
    }
    yield output.subarray(0, decodeBlock(frame.subarray(at, at + size), output));
    at += size;
  }
}

/** @returns bytes written to `output` */
function decodeBlock(input: Uint8Array, output: Uint8Array): number {
  let from = 0;
  let to = 0;
  /** Lengths of 15 and more go on in bytes of which all but the last are 255. */
  const longLength = (start: number): number => {
    let length = start;
    for (let byte = 255; byte === 255;) {
      if (from >= input.length) throw corrupt("a length is cut off");
      byte = input[from++]!;
      length += byte;
    }
    return length;
  };
  while (from < input.length) {
    const token = input[from++]!;
    let literals = token >> 4;
    if (literals === 15) literals = longLength(literals);
    if (from + literals > input.length || to + literals > output.length) throw corrupt("literals run over");
    output.set(input.subarray(from, from + literals), to);
    from += literals;
    to += literals;
    if (from === input.length) return to; // the last sequence has no match
    if (from + 2 > input.length) throw corrupt("a match is cut off");
    const distance = input[from]! | input[from + 1]! << 8;
    from += 2;
    let length = token & 15;
    if (length === 15) length = longLength(length);
    length += 4;
    if (distance === 0 || distance > to || to + length > output.length) throw corrupt("a match runs over");
    if (distance >= length) {
      output.copyWithin(to, to - distance, to - distance + length);
      to += length;
    } else { // overlapping: what is copied is also the source
      for (const end = to + length; to < end; to++) output[to] = output[to - distance]!;
    }
  }
  throw corrupt("its last sequence is missing");
}

function corrupt(why: string): BangerError {
  return new BangerError(
    "corrupt_data",
    `Cannot unpack the kernel image: ${why}`,
    "Fetch the kernel package again",
  );
}
