import assert from "node:assert/strict";
import { BangerError } from "../../../lib/base/errors.ts";
import { aclFromDisk, aclToDisk } from "../../../lib/ext4/acl.ts";
import { packXattrs, readBlockXattrs, readInodeXattrs, sealXattrBlock } from "../../../lib/ext4/xattr.ts";

const SEED = 0x12345678;
const BLOCK_NUMBER = 0x1_0000_0007;

function roundTrip(xattrs: Map<string, Uint8Array>): Map<string, Uint8Array> {
  const { inInode, inBlock } = packXattrs(xattrs);
  const read = new Map<string, Uint8Array>();
  if (inInode) readInodeXattrs(inInode, read);
  if (inBlock) {
    sealXattrBlock(inBlock, 1, BLOCK_NUMBER, SEED);
    readBlockXattrs(inBlock, BLOCK_NUMBER, SEED, read);
  }
  return read;
}

const SETS: readonly [string, [string, Uint8Array][]][] = [
  ["a capability", [["security.capability", new Uint8Array(20).fill(9)]]],
  ["an empty value", [["user.empty", new Uint8Array(0)]]],
  ["several namespaces", [
    ["user.b", Uint8Array.of(1)],
    ["user.a", Uint8Array.of(2)],
    ["trusted.x", Uint8Array.of(3, 4, 5)],
    ["security.selinux", new TextEncoder().encode("system_u:object_r:bin_t:s0\0")],
  ]],
  ["more than the inode holds", [["user.small", Uint8Array.of(1)], [
    "user.large",
    new Uint8Array(3000).fill(5),
  ]]],
  ["a name no namespace fits", [["com.apple.provenance", Uint8Array.of(1, 2)]]],
];
for (const [what, entries] of SETS) {
  Deno.test(`packXattrs() keeps ${what}`, () => {
    assert.deepEqual([...roundTrip(new Map(entries))].sort(), entries.toSorted());
  });
}

Deno.test("packXattrs() refuses what takes more than a block, and impossible names", () => {
  const refused = (xattrs: [string, Uint8Array][]) =>
    assert.throws(
      () => packXattrs(new Map(xattrs)),
      (thrown) => thrown instanceof BangerError && thrown.code === "corrupt_data",
    );
  refused([["user.huge", new Uint8Array(4100)]]);
  refused([[`user.${"x".repeat(256)}`, new Uint8Array(1)]]);
  refused([["user.", new Uint8Array(1)]]);
  refused([["system.posix_acl_access", new Uint8Array(5)]]);
});

Deno.test("readBlockXattrs() notices a wrong checksum and a wrong place", () => {
  const { inBlock } = packXattrs(new Map([["user.large", new Uint8Array(500)]]));
  sealXattrBlock(inBlock!, 1, BLOCK_NUMBER, SEED);
  assert.throws(() => readBlockXattrs(inBlock!, BLOCK_NUMBER + 1, SEED, new Map()), BangerError);
  inBlock![4000]! ^= 1;
  assert.throws(() => readBlockXattrs(inBlock!, BLOCK_NUMBER, SEED, new Map()), BangerError);
});

Deno.test("ACLs change their form on the disk and back", () => {
  const value = aclValue();
  const disk = aclToDisk(value);
  assert.equal(disk.length, 4 + 4 * 4 + 8);
  assert.deepEqual(aclFromDisk(disk), value);
  assert.deepEqual(
    roundTrip(new Map([["system.posix_acl_access", value]])).get("system.posix_acl_access"),
    value,
  );
});

/** user::rwx, user:1000:r--, group::r-x, mask::r-x, other::r-- as system calls carry it. */
function aclValue(): Uint8Array {
  const none = 0xffffffff;
  const entries = [[1, 7, none], [2, 4, 1000], [4, 5, none], [16, 5, none], [32, 4, none]] as const;
  const value = new Uint8Array(4 + entries.length * 8);
  const view = new DataView(value.buffer);
  view.setUint32(0, 2, true);
  entries.forEach(([tag, permissions, id], i) => {
    view.setUint16(4 + i * 8, tag, true);
    view.setUint16(6 + i * 8, permissions, true);
    view.setUint32(8 + i * 8, id, true);
  });
  return value;
}
