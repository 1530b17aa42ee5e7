import assert from "node:assert/strict";
import { BangerError } from "../../../lib/base/errors.ts";
import { GIB, MIB } from "../../../lib/base/units.ts";
import { BlockAllocator } from "../../../lib/ext4/allocator.ts";
import {
  backupGroups,
  type Demand,
  descriptorArea,
  hasBackup,
  journalBlocksFor,
  planLayout,
} from "../../../lib/ext4/geometry.ts";

Deno.test("hasBackup() and backupGroups() know groups 0, 1 and the powers of 3, 5 and 7", () => {
  const first100 = Array.from({ length: 100 }, (_, group) => group).filter(hasBackup);
  assert.deepEqual(first100, [0, 1, 3, 5, 7, 9, 25, 27, 49, 81]);
  assert.deepEqual(backupGroups(100), first100.slice(1));
  assert.deepEqual(backupGroups(1), []);
});

const JOURNALS = [
  [2047, 0],
  [2048, 1024],
  [32768, 4096],
  [GIB / 4096 - 1, 4096],
  [GIB / 4096, 8192],
  [2 * GIB / 4096, 16384],
  [10_000 * GIB / 4096, 16384],
] as const;
for (const [blockCount, expected] of JOURNALS) {
  Deno.test(`journalBlocksFor() gives ${blockCount} blocks a journal of ${expected}`, () => {
    assert.equal(journalBlocksFor(blockCount), expected);
  });
}

function demand(some: Partial<Demand> = {}): Demand {
  return {
    contentEnd: 1000,
    metadataBlocks: 10,
    inodes: 20,
    descriptorArea: descriptorArea(some.sizeBytes),
    sizeBytes: undefined,
    ...some,
  };
}

Deno.test("planLayout() chooses at least a gibibyte, and a quarter more than the content", () => {
  assert.equal(planLayout(demand()).sizeBytes, GIB);
  const contentEnd = 3 * GIB / 4096;
  const { sizeBytes } = planLayout(demand({ contentEnd }));
  assert.ok(sizeBytes >= 3.75 * GIB && sizeBytes < 4.25 * GIB, `${sizeBytes}`);
});

Deno.test("planLayout() keeps a size that was asked for, to the byte", () => {
  const layout = planLayout(demand({ sizeBytes: 100 * MIB + 4095 }));
  assert.equal(layout.sizeBytes, 100 * MIB + 4095);
  assert.equal(layout.blockCount, 25600);
});

Deno.test("planLayout() drops a last group too small for anything", () => {
  const layout = planLayout(demand({ sizeBytes: 128 * MIB + 40 * 4096 }));
  assert.equal(layout.groupCount, 1);
  assert.equal(layout.blockCount, 32768);
});

Deno.test("planLayout() has mke2fs's ratio of inodes, and more where the tree needs them", () => {
  assert.equal(planLayout(demand()).inodesPerGroup, 8192);
  const layout = planLayout(demand({ inodes: 100_000 }));
  assert.ok(layout.inodesPerGroup * layout.groupCount >= 125_000);
  assert.equal(layout.inodesPerGroup % 16, 0);
});

Deno.test("planLayout() adds groups when inodes would not fit", () => {
  const layout = planLayout(demand({ inodes: 400_000 }));
  assert.ok(layout.inodesPerGroup <= 32768 && layout.inodesPerGroup * layout.groupCount >= 400_000);
  assert.ok(layout.groupCount > 8);
});

Deno.test("planLayout() refuses what does not fit, with the size that would", () => {
  assert.throws(
    () => planLayout(demand({ sizeBytes: 64 * MIB, contentEnd: 16000 })),
    (thrown) =>
      thrown instanceof BangerError && thrown.code === "no_space" && /at least 128 MiB/.test(thrown.hint!),
  );
});

Deno.test("descriptorArea() lets small disks grow a thousandfold and large ones twofold", () => {
  assert.equal(descriptorArea(undefined), 512);
  assert.equal(descriptorArea(64 * MIB), 16);
  assert.equal(descriptorArea(8 * GIB), 512);
  assert.equal(descriptorArea(10 * 1024 * GIB), 2048);
});

Deno.test("BlockAllocator steps over copies of the superblock", () => {
  const allocator = new BlockAllocator(512, Infinity);
  assert.deepEqual(allocator.take(1), { start: 513, count: 1 });
  assert.deepEqual(allocator.take(40_000), { start: 514, count: 32768 - 514 });
  assert.equal(allocator.next, 32768 + 513);
  allocator.moveTo(2 * 32768);
  assert.deepEqual(allocator.take(40_000), { start: 65536, count: 32768 });
  assert.equal(allocator.next, 3 * 32768 + 513);
  allocator.moveTo(5 * 32768 - 10);
  assert.equal(allocator.takeWhole(11), 5 * 32768 + 513);
});

Deno.test("BlockAllocator ends at its limit", () => {
  const allocator = new BlockAllocator(16, 1000);
  allocator.take(983);
  assert.throws(
    () => allocator.take(1),
    (thrown) => thrown instanceof BangerError && thrown.code === "no_space",
  );
});
