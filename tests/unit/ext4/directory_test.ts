import assert from "node:assert/strict";
import { BangerError } from "../../../lib/base/errors.ts";
import { type ByteString, byteStringOfText } from "../../../lib/base/tree.ts";
import {
  buildDirectory,
  type DirectoryContext,
  type DirectoryEntry,
  directoryEntryBytes,
  indexNodeCount,
  maxDirectoryBlocks,
} from "../../../lib/ext4/directory.ts";
import { readDirectoryBlock } from "../../../lib/ext4/directory_reader.ts";

const CONTEXT: DirectoryContext = {
  inodeNumber: 20,
  parentInodeNumber: 2,
  checksumSeed: 99,
  hashSeed: Uint32Array.of(1, 2, 3, 4),
  minBlocks: 1,
};

function entries(count: number, name: (i: number) => string): DirectoryEntry[] {
  return Array.from({ length: count }, (_, i) => ({
    name: byteStringOfText(name(i)),
    inodeNumber: 100 + i,
    type: 1,
  }));
}

function readBack(blocks: Iterable<Uint8Array>): { found: Map<ByteString, number>; blockCount: number } {
  const found = new Map<ByteString, number>();
  let blockCount = 0;
  for (const block of blocks) {
    blockCount++;
    for (const entry of readDirectoryBlock(block, CONTEXT.checksumSeed)) {
      found.set(entry.name, entry.inodeNumber);
    }
  }
  return { found, blockCount };
}

const CASES = [
  [0, (i: number) => `${i}`, false],
  [3, (i: number) => "n".repeat(252) + i, false],
  [400, (i: number) => `f${i}`, true],
  [18_000, (i: number) => `package-${i}.list`, true],
  [3000, (i: number) => `${"long".repeat(60)}-${i}`, true],
] as const;
for (const [count, name, indexed] of CASES) {
  Deno.test(`buildDirectory() gives ${count} entries back, within the bound`, () => {
    const listed = entries(count, name);
    const built = buildDirectory(listed, CONTEXT);
    const { found, blockCount } = readBack(built.blocks);
    assert.equal(built.indexed, indexed);
    assert.equal(built.blockCount, blockCount);
    assert.deepEqual([...found].sort(), listed.map((entry) => [entry.name, entry.inodeNumber]).sort());
    const bytes = listed.reduce((sum, entry) => sum + directoryEntryBytes(entry.name), 0);
    assert.ok(blockCount <= maxDirectoryBlocks(bytes), `${blockCount} > ${maxDirectoryBlocks(bytes)}`);
  });
}

Deno.test("buildDirectory() makes a second index level for 200,000 entries of long names", () => {
  const built = buildDirectory(entries(200_000, (i) => `${"x".repeat(40)}${i}`), CONTEXT);
  const [root] = built.blocks;
  assert.equal(root![0x1e], 1);
  assert.ok(built.blockCount > 2000);
});

Deno.test("indexNodeCount() knows the limits of one and two levels", () => {
  assert.equal(indexNodeCount(507), 0);
  assert.equal(indexNodeCount(508), 2);
  assert.equal(indexNodeCount(507 * 408), 507);
  assert.throws(
    () => indexNodeCount(507 * 408 + 1),
    (thrown) => thrown instanceof BangerError && thrown.code === "no_space",
  );
});

const BAD_BLOCKS: readonly [string, (block: Uint8Array, view: DataView) => void][] = [
  ["a record of size zero", (_, view) => view.setUint16(24 + 4, 0, true)],
  ["a record that ends outside", (_, view) => view.setUint16(24 + 4, 8000, true)],
  ["a record of an odd size", (_, view) => view.setUint16(24 + 4, 17, true)],
  ["a name longer than its record", (block) => block[24 + 6] = 250],
  ["a name with a slash", (block) => block[24 + 8] = 0x2f],
  ["a name with a zero byte", (block) => block[24 + 8] = 0],
  ["an empty name", (block) => block[24 + 6] = 0],
];
for (const [what, spoil] of BAD_BLOCKS) {
  Deno.test(`readDirectoryBlock() refuses ${what}`, () => {
    const [block] = buildDirectory(entries(20, (i) => `file-${i}`), CONTEXT).blocks;
    spoil(block!, new DataView(block!.buffer));
    const read = () => [...readDirectoryBlock(block!, undefined)];
    assert.throws(read, (thrown) => thrown instanceof BangerError && thrown.code === "corrupt_data");
  });
}

Deno.test("readDirectoryBlock() refuses a wrong checksum", () => {
  const [block] = buildDirectory(entries(1, () => "a"), CONTEXT).blocks;
  block![3000] = 1;
  assert.throws(() => [...readDirectoryBlock(block!, CONTEXT.checksumSeed)], BangerError);
});
