import assert from "node:assert/strict";
import { byteStringOfText } from "../../../lib/base/tree.ts";
import { hashName } from "../../../lib/ext4/name_hash.ts";

const SEED = Uint32Array.of(0x38271605, 0x7c6b5a49, 0xc0af9e8d, 0x04f3e2d1);

/** From debugfs: `dx_hash -h half_md4 -s 05162738-495a-6b7c-8d9e-afc0d1e2f304 NAME` */
const HASHES = [
  ["a", 0x116a39c8, 0x3fed0fdb, "one byte"],
  ["hello", 0x7b182e3c, 0xda44328f, "a length that is no multiple of four"],
  ["file-123.txt", 0x9fab261a, 0x6db63f04, "three words"],
  ["y".repeat(32), 0x6b8c612a, 0x986b13f6, "exactly one block"],
  ["x".repeat(40), 0xc9bd1724, 0x6e3424ec, "two blocks"],
  ["ünïcode", 0x1fcb5520, 0xc816b353, "bytes above 127, which count as negative"],
] as const;

for (const [name, major, minor, why] of HASHES) {
  Deno.test(`hashName() agrees with e2fsprogs on ${why}`, () => {
    assert.deepEqual(hashName(byteStringOfText(name), SEED), { major, minor });
  });
}
