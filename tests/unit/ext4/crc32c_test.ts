import assert from "node:assert/strict";
import { crc32c, CRC32C_START, crc32cOfUint32 } from "../../../lib/ext4/crc32c.ts";
import { randomBytes, seededRandom } from "./support.ts";

/** The definition, a bit at a time. */
function slowCrc32c(crc: number, bytes: Uint8Array): number {
  let state = crc | 0;
  for (const byte of bytes) {
    state ^= byte;
    for (let bit = 0; bit < 8; bit++) state = (state >>> 1) ^ (state & 1 ? 0x82f63b78 : 0);
  }
  return state >>> 0;
}

Deno.test("crc32c() gives the check value of RFC 3720, once inverted", () => {
  const digits = new TextEncoder().encode("123456789");
  assert.equal((~crc32c(CRC32C_START, digits)) >>> 0, 0xe3069283);
  assert.equal((~crc32c(CRC32C_START, new Uint8Array(32))) >>> 0, 0x8a9136aa);
});

Deno.test("crc32c() agrees with the definition at any length and offset, in pieces or whole", () => {
  const random = seededRandom(1);
  const bytes = randomBytes(random, 300);
  for (let length = 0; length < 64; length++) {
    const part = bytes.subarray(length % 7, length % 7 + length);
    assert.equal(crc32c(CRC32C_START, part), slowCrc32c(CRC32C_START, part));
    const cut = Math.floor(random() * length);
    const pieces = crc32c(crc32c(CRC32C_START, part.subarray(0, cut)), part.subarray(cut));
    assert.equal(pieces, crc32c(CRC32C_START, part));
  }
});

Deno.test("crc32cOfUint32() is the checksum of four little-endian bytes", () => {
  const bytes = Uint8Array.of(0x78, 0x56, 0x34, 0xf2);
  assert.equal(crc32cOfUint32(77, 0xf2345678), slowCrc32c(77, bytes));
});
