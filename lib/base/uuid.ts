import { createHash } from "node:crypto";

/**
 * The same seed gives the same UUID: what banger writes must be reproducible.
 *
 * @returns 16 bytes; version 8, of a hash of our own choice (RFC 9562, section 5.8)
 */
export function uuidFromSeed(seed: string): Uint8Array {
  const uuid = new Uint8Array(createHash("sha256").update(seed).digest().subarray(0, 16));
  uuid[6] = (uuid[6]! & 0x0f) | 0x80;
  uuid[8] = (uuid[8]! & 0x3f) | 0x80;
  return uuid;
}
