/** Eight tables of 256 entries in a row: table k holds the CRC of a byte followed by k zero bytes. */
const TABLES = makeTables();

function makeTables(): Int32Array {
  const tables = new Int32Array(8 * 256);
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0x82f63b78 : 0);
    tables[byte] = crc;
  }
  for (let at = 256; at < tables.length; at++) {
    const before = tables[at - 256]!;
    tables[at] = (before >>> 8) ^ tables[before & 0xff]!;
  }
  return tables;
}

/**
 * Carries a CRC-32C (Castagnoli) over `bytes`, raw: ext4 starts with ~0 and never inverts the result.
 *
 * @param crc what came before; `CRC32C_START` at the beginning
 * @returns unsigned 32 bits
 */
export function crc32c(crc: number, bytes: Uint8Array): number {
  const tables = TABLES;
  const eights = bytes.length - (bytes.length % 8);
  let state = crc | 0;
  let at = 0;
  for (; at < eights; at += 8) {
    const low = state ^
      (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24));
    state = tables[1792 + (low & 0xff)]! ^
      tables[1536 + ((low >>> 8) & 0xff)]! ^
      tables[1280 + ((low >>> 16) & 0xff)]! ^
      tables[1024 + (low >>> 24)]! ^
      tables[768 + bytes[at + 4]!]! ^
      tables[512 + bytes[at + 5]!]! ^
      tables[256 + bytes[at + 6]!]! ^
      tables[bytes[at + 7]!]!;
  }
  for (; at < bytes.length; at++) state = (state >>> 8) ^ tables[(state ^ bytes[at]!) & 0xff]!;
  return state >>> 0;
}

/** Carries a CRC-32C over the four little-endian bytes of `value`. */
export function crc32cOfUint32(crc: number, value: number): number {
  let state = crc | 0;
  for (let shift = 0; shift < 32; shift += 8) {
    state = (state >>> 8) ^ TABLES[(state ^ (value >>> shift)) & 0xff]!;
  }
  return state >>> 0;
}

export const CRC32C_START = 0xffffffff;
