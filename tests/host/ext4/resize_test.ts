import assert from "node:assert/strict";
import { GIB, MIB } from "../../../lib/base/units.ts";
import { openFilesystem } from "../../../lib/ext4/mod.ts";
import { growRandomTree } from "../../unit/ext4/random_tree.ts";
import { addFile, describeTree, randomBytes, seededRandom } from "../../unit/ext4/support.ts";
import { assertClean, openDisk, run, scratchDirectory, writeDisk } from "./judges.ts";

async function describeDisk(path: string): Promise<string[]> {
  await using file = await openDisk(path);
  const reader = await openFilesystem(file);
  return await describeTree(await reader.readTree(), (content) => reader.readContent(content));
}

const SIZES = [
  ["a small disk", 64 * MIB, "3G"],
  ["a disk of the default size", undefined, "20G"],
  ["a work disk", 8 * GIB, "100G"],
] as const;

for (const [what, sizeBytes, larger] of SIZES) {
  Deno.test(`resize2fs grows and shrinks ${what}, and nothing in it changes`, async () => {
    await using scratch = await scratchDirectory();
    const disk = `${scratch.path}/disk.ext4`;
    await writeDisk(disk, async (root, sink) => {
      await growRandomTree(seededRandom(21), root, sink, 300);
      await addFile(sink, root, "data", randomBytes(seededRandom(22), 5 * MIB));
    }, sizeBytes === undefined ? {} : { sizeBytes });
    const before = await describeDisk(disk);
    await run("resize2fs", disk, larger);
    await assertClean(disk);
    assert.deepEqual(await describeDisk(disk), before);
    await run("resize2fs", "-M", disk);
    await assertClean(disk);
    assert.deepEqual(await describeDisk(disk), before);
  });
}

Deno.test("e2fsck restores a lost superblock from each kind of copy", async () => {
  await using scratch = await scratchDirectory();
  const disk = `${scratch.path}/disk.ext4`;
  await writeDisk(disk, (root, sink) => growRandomTree(seededRandom(23), root, sink, 50));
  const before = await describeDisk(disk);
  for (const group of [1, 3, 5, 7]) {
    {
      await using file = await openDisk(disk);
      await file.writeAt(new Uint8Array(4096 * 3), 0);
    }
    const { code } = await new Deno.Command("e2fsck", {
      args: ["-fy", "-b", String(group * 32768), "-B", "4096", disk],
      stdout: "null",
      stderr: "null",
    }).output();
    assert.ok(code <= 1, `e2fsck ended with ${code}`);
    await assertClean(disk);
    assert.deepEqual(await describeDisk(disk), before);
  }
});
