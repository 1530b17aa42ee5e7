import assert from "node:assert/strict";
import type { Timestamp } from "../../../lib/base/tree.ts";
import {
  decodeInode,
  encodeInode,
  inodeChecksumFits,
  inodeChecksumSeed,
  type InodeFields,
  MAX_SECONDS,
  MIN_SECONDS,
} from "../../../lib/ext4/inode.ts";

function fields(some: Partial<InodeFields> = {}): InodeFields {
  return {
    mode: 0o100644,
    uid: 0,
    gid: 0,
    sizeBytes: 0,
    links: 1,
    sectors: 0,
    flags: 0,
    time: { seconds: 0, nanoseconds: 0 },
    iBlock: new Uint8Array(60),
    xattrBlock: 0,
    xattrBytes: undefined,
    ...some,
  };
}

const SEED = inodeChecksumSeed(1, 12);

const TIMES: readonly [string, Timestamp][] = [
  ["the epoch", { seconds: 0, nanoseconds: 0 }],
  ["before 1970", { seconds: -1, nanoseconds: 999_999_999 }],
  ["the earliest", { seconds: MIN_SECONDS, nanoseconds: 1 }],
  ["the last of 31 bits", { seconds: 2 ** 31 - 1, nanoseconds: 5 }],
  ["after 2038", { seconds: 2 ** 31, nanoseconds: 123_456_789 }],
  ["the second epoch bit", { seconds: 2 ** 33 + 77, nanoseconds: 0 }],
  ["the latest", { seconds: MAX_SECONDS, nanoseconds: 999_999_999 }],
];
for (const [what, time] of TIMES) {
  Deno.test(`encodeInode() keeps times: ${what}`, () => {
    const bytes = new Uint8Array(256);
    encodeInode(fields({ time }), SEED, bytes);
    assert.deepEqual(decodeInode(bytes).mtime, time);
  });
}

Deno.test("encodeInode() keeps 32-bit owners, large sizes and attribute blocks", () => {
  const bytes = new Uint8Array(256).fill(0xaa);
  const wide = { uid: 0xfffffffe, gid: 0x80000001, sizeBytes: 5 * 2 ** 32 + 3, xattrBlock: 2 ** 33 + 1 };
  encodeInode(fields(wide), SEED, bytes);
  const { uid, gid, sizeBytes, xattrBlock } = decodeInode(bytes);
  assert.deepEqual({ uid, gid, sizeBytes, xattrBlock }, wide);
});

Deno.test("inodeChecksumFits() notices any changed bit and another inode's seed", () => {
  const bytes = new Uint8Array(256);
  encodeInode(fields({ mode: 0o100600 }), SEED, bytes);
  assert.ok(inodeChecksumFits(bytes, SEED));
  assert.ok(!inodeChecksumFits(bytes, inodeChecksumSeed(1, 13)));
  for (const at of [0, 0x7c, 0x82, 255]) {
    const changed = bytes.slice();
    changed[at]! ^= 0x10;
    assert.ok(!inodeChecksumFits(changed, SEED), `byte ${at}`);
  }
});
