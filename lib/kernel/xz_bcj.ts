import { crc32 } from "node:zlib";
import { concatBytes } from "../base/bytes.ts";
import { BangerError } from "../base/errors.ts";
import { decompressBytes } from "./decompress.ts";

/**
 * Kernels are packed with `xz --x86 --check=crc32`, a filter chain that our decoder lacks. So each block is
 * taken out of its stream, given a header that names LZMA2 alone, decoded, and the x86 filter undone here.
 *
 * Source: The .xz File Format 1.2.0
 */
const STREAM_MAGIC = [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00] as const;
const HEADER_BYTES = 12;
const FOOTER_BYTES = 12;
const FILTER_X86 = 4;
const FILTER_LZMA2 = 0x21;
const CHECK_BYTES: Readonly<Record<number, number>> = { 0: 0, 1: 4, 4: 8, 10: 32 };
const CHECK_CRC32 = 1;
const MAX_BLOCKS = 4096;

interface Block {
  readonly offsetBytes: number;
  /** Header, compressed data and check, without the padding before the check. */
  readonly unpaddedBytes: number;
  readonly uncompressedBytes: number;
}

/**
 * Decodes an xz stream whose blocks use LZMA2, alone or behind the x86 filter.
 *
 * @param stream exactly one stream, without padding behind it
 * @throws {BangerError} `corrupt_data`; `host_unsupported` for other filters
 */
export async function* decodeKernelXz(stream: Uint8Array, maxBytes: number): AsyncGenerator<Uint8Array> {
  if (!STREAM_MAGIC.every((byte, at) => stream[at] === byte)) throw corrupt("it has no xz header");
  const check = (stream[7] ?? 0) & 15;
  const checkBytes = CHECK_BYTES[check];
  if (checkBytes === undefined) throw corrupt("its check type is unknown");
  let left = maxBytes;
  for (const block of listBlocks(stream)) {
    left -= block.uncompressedBytes;
    if (left < 0) throw corrupt(`it has more than ${maxBytes} bytes`);
    yield await decodeBlock(stream, block, check, checkBytes);
  }
}

/** From the index, which the footer leads to. */
function listBlocks(stream: Uint8Array): Block[] {
  const footer = stream.subarray(stream.length - FOOTER_BYTES);
  if (footer.length < FOOTER_BYTES || footer[10] !== 0x59 || footer[11] !== 0x5a) {
    throw corrupt("it has no xz footer");
  }
  const indexBytes = (uint32(footer, 4) + 1) * 4;
  const indexAt = stream.length - FOOTER_BYTES - indexBytes;
  if (indexAt < HEADER_BYTES) throw corrupt("its index lies outside");
  const index = stream.subarray(indexAt, indexAt + indexBytes);
  if (index[0] !== 0 || crc32(index.subarray(0, -4)) !== uint32(index, indexBytes - 4)) {
    throw corrupt("its index is damaged");
  }
  const numbers = new Numbers(index, 1);
  const count = numbers.next();
  if (count > MAX_BLOCKS) throw corrupt("it has too many blocks");
  const blocks: Block[] = [];
  let at = HEADER_BYTES;
  for (let i = 0; i < count; i++) {
    const block = { offsetBytes: at, unpaddedBytes: numbers.next(), uncompressedBytes: numbers.next() };
    at += align4(block.unpaddedBytes);
    blocks.push(block);
  }
  if (at !== indexAt) throw corrupt("its index does not fit its blocks");
  return blocks;
}

async function decodeBlock(
  stream: Uint8Array,
  block: Block,
  check: number,
  checkBytes: number,
): Promise<Uint8Array> {
  // The padding that the index does not count stands between the data and their check.
  const whole = stream.subarray(block.offsetBytes, block.offsetBytes + align4(block.unpaddedBytes));
  const headerBytes = ((whole[0] ?? 0) + 1) * 4;
  const dataEnd = block.unpaddedBytes - checkBytes;
  if (headerBytes >= dataEnd) throw corrupt("a block is too short");
  const { hasX86Filter, dictionary } = parseBlockHeader(whole.subarray(0, headerBytes));
  const alone = wrapLzma2(whole.subarray(headerBytes, dataEnd), dictionary, block.uncompressedBytes);
  const bytes = await decompressBytes(alone, block.uncompressedBytes, "the kernel image");
  if (hasX86Filter) undoX86Filter(bytes);
  if (check === CHECK_CRC32 && crc32(bytes) !== uint32(whole, align4(dataEnd))) {
    throw corrupt("a block's checksum is wrong");
  }
  return bytes;
}

function parseBlockHeader(header: Uint8Array): { hasX86Filter: boolean; dictionary: number } {
  if (crc32(header.subarray(0, -4)) !== uint32(header, header.length - 4)) {
    throw corrupt("a block header is damaged");
  }
  const flags = header[1]!;
  const numbers = new Numbers(header, 2);
  if (flags & 0x40) numbers.next();
  if (flags & 0x80) numbers.next();
  let hasX86Filter = false;
  for (let left = (flags & 3) + 1; left > 0; left--) {
    const id = numbers.next();
    const propertyBytes = numbers.next();
    const properties = numbers.skip(propertyBytes);
    if (id === FILTER_LZMA2 && left === 1 && propertyBytes === 1) {
      return { hasX86Filter, dictionary: properties[0]! };
    }
    if (id !== FILTER_X86 || propertyBytes !== 0 || hasX86Filter) break;
    hasX86Filter = true;
  }
  throw new BangerError(
    "host_unsupported",
    "Cannot unpack the kernel image: its xz filters are not those of an x86 kernel",
    "Use a kernel for x86-64",
  );
}

/** Variable-length integers: 7 bits a byte, low bits first. */
class Numbers {
  readonly #bytes: Uint8Array;
  #at: number;

  constructor(bytes: Uint8Array, at: number) {
    this.#bytes = bytes;
    this.#at = at;
  }

  next(): number {
    let value = 0;
    for (let shift = 0; shift < 49; shift += 7) {
      const byte = this.#bytes[this.#at++];
      if (byte === undefined) break;
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) return value;
    }
    throw corrupt("a number is damaged");
  }

  skip(count: number): Uint8Array {
    if (this.#at + count > this.#bytes.length) throw corrupt("a filter's properties lie outside");
    this.#at += count;
    return this.#bytes.subarray(this.#at - count, this.#at);
  }
}

/** A stream of one block without a check. */
function wrapLzma2(data: Uint8Array, dictionary: number, uncompressedBytes: number): Uint8Array {
  const header = withCrc([2, 0, FILTER_LZMA2, 1, dictionary, 0, 0, 0]);
  const index = [0, 1, ...number(header.length + data.length), ...number(uncompressedBytes)];
  while (index.length % 4 !== 0) index.push(0);
  const wrappedIndex = withCrc(index);
  const backward = [...littleEndian(wrappedIndex.length / 4 - 1), 0, 0];
  return concatBytes([
    Uint8Array.from([...STREAM_MAGIC, ...withCrc([0, 0])]),
    header,
    data,
    new Uint8Array(align4(data.length) - data.length),
    wrappedIndex,
    Uint8Array.from([...littleEndian(crc32(Uint8Array.from(backward))), ...backward, 0x59, 0x5a]),
  ]);
}

function withCrc(bytes: readonly number[]): Uint8Array {
  return Uint8Array.from([...bytes, ...littleEndian(crc32(Uint8Array.from(bytes)))]);
}

function littleEndian(value: number): number[] {
  return [value & 255, value >>> 8 & 255, value >>> 16 & 255, value >>> 24];
}

function number(value: number): number[] {
  const bytes: number[] = [];
  let rest = value;
  for (; rest >= 0x80; rest = Math.floor(rest / 128)) bytes.push(rest % 128 | 0x80);
  return [...bytes, rest];
}

const ALLOWED = [true, true, true, false, true, false, false, false] as const;
const BIT_NUMBER = [0, 1, 2, 2, 3, 3, 3, 3] as const;

/**
 * Turns the absolute targets of x86 calls and jumps back into relative ones, in place, for a whole block.
 *
 * Source: xz-embedded linux/lib/xz/xz_dec_bcj.c, bcj_x86 (public domain)
 */
function undoX86Filter(bytes: Uint8Array): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const isEdge = (byte: number) => byte === 0x00 || byte === 0xff;
  let previousAt = -1;
  let mask = 0;
  for (let at = 0; at < bytes.length - 4; at++) {
    if ((bytes[at]! & 0xfe) !== 0xe8) continue;
    const distance = at - previousAt;
    previousAt = at;
    mask = distance > 3 ? 0 : mask << distance - 1 & 7;
    if (mask !== 0 && (!ALLOWED[mask] || isEdge(bytes[at + 4 - BIT_NUMBER[mask]!]!))) {
      mask = mask << 1 | 1;
      continue;
    }
    if (!isEdge(bytes[at + 4]!)) {
      mask = mask << 1 | 1;
      continue;
    }
    view.setUint32(at + 1, relativeTarget(view.getUint32(at + 1, true), at + 5, mask), true);
    at += 4;
  }
}

function relativeTarget(absolute: number, next: number, mask: number): number {
  let source = absolute;
  for (;;) {
    const target = source - next >>> 0;
    const shift = BIT_NUMBER[mask]! * 8;
    const byte = target >>> 24 - shift & 255;
    if (mask === 0 || (byte !== 0x00 && byte !== 0xff)) {
      const low = target & 0x01ffffff;
      return (low | -(low & 0x01000000)) >>> 0;
    }
    // 2 ** (32 - shift) - 1: a JavaScript shift by 32 would be none.
    source = (target ^ 2 ** (32 - shift) - 1) >>> 0;
  }
}

function uint32(bytes: Uint8Array, at: number): number {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getUint32(at, true);
}

function align4(size: number): number {
  return Math.ceil(size / 4) * 4;
}

function corrupt(why: string): BangerError {
  return new BangerError(
    "corrupt_data",
    `Cannot unpack the kernel image: ${why}`,
    "Fetch the kernel package again",
  );
}
