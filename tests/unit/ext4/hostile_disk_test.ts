import assert from "node:assert/strict";
import { BangerError } from "../../../lib/base/errors.ts";
import { byteStringOfText } from "../../../lib/base/tree.ts";
import { MIB } from "../../../lib/base/units.ts";
import { openFilesystem } from "../../../lib/ext4/mod.ts";
import { addDirectory, addFile, attributes, MemoryDisk, symlink, writeFilesystem } from "./support.ts";

/** The directory a (inode 12) with b (inode 14) in it, and a comb of a file (inode 13) with its extents in a block. */
async function makeVictim(): Promise<MemoryDisk> {
  const disk = new MemoryDisk();
  await writeFilesystem(disk, async (root, sink) => {
    await addFile(sink, addDirectory(addDirectory(root, "aaaa"), "bbbb"), "cccc", "text");
    root.entries.set(byteStringOfText("link"), symlink("target"));
    const comb = sink.begin();
    for (let i = 0; i < 6; i++) {
      await comb.write(new Uint8Array(4096).fill(1));
      await comb.writeHole(8 * 4096);
    }
    const content = await comb.end();
    root.entries.set(byteStringOfText("comb"), { kind: "file", attributes: attributes(), content });
  }, { sizeBytes: 16 * MIB });
  // Clears metadata_csum, so that the checks behind the checksums have to notice.
  await disk.writeAt(Uint8Array.of(0x6b, 0, 0, 0), 1024 + 0x64);
  return disk;
}

/** Where the bytes stand, searched from the start of each page on. */
async function find(disk: MemoryDisk, wanted: Uint8Array): Promise<number> {
  const page = new Uint8Array(4096);
  for (const number of disk.pageNumbers) {
    await disk.readAt(page, number * 4096);
    for (let at = 0; at + wanted.length <= page.length; at++) {
      if (wanted.every((byte, i) => page[at + i] === byte)) return number * 4096 + at;
    }
  }
  throw new Error("not on the disk");
}

function findText(disk: MemoryDisk, text: string): Promise<number> {
  return find(disk, new TextEncoder().encode(text));
}

/** The extent block: magic number, six entries of 340, depth 0. */
function findExtentBlock(disk: MemoryDisk): Promise<number> {
  return find(disk, Uint8Array.of(0x0a, 0xf3, 6, 0, 0x54, 1, 0, 0));
}

/** The inode's own node: one entry of four, depth 1. */
function findExtentRoot(disk: MemoryDisk): Promise<number> {
  return find(disk, Uint8Array.of(0x0a, 0xf3, 1, 0, 4, 0, 1, 0));
}

function uint32(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value, true);
  return bytes;
}

const ATTACKS: readonly [string, RegExp, (disk: MemoryDisk) => Promise<void>][] = [
  [
    "a directory that holds its parent",
    /two names/,
    async (disk) => await disk.writeAt(uint32(12), await findText(disk, "bbbb") - 8),
  ],
  [
    "a directory that holds the root",
    /special inode/,
    async (disk) => await disk.writeAt(uint32(2), await findText(disk, "bbbb") - 8),
  ],
  [
    "a name for the journal",
    /special inode/,
    async (disk) => await disk.writeAt(uint32(8), await findText(disk, "cccc") - 8),
  ],
  [
    "a name for an inode that does not exist",
    /no inode 16777215/,
    async (disk) => await disk.writeAt(uint32(0xffffff), await findText(disk, "cccc") - 8),
  ],
  [
    "a name for an inode that was never used",
    /deleted/,
    async (disk) => await disk.writeAt(uint32(500), await findText(disk, "cccc") - 8),
  ],
  [
    "the same name twice",
    /a name twice/,
    async (disk) => await disk.writeAt(new TextEncoder().encode("link"), await findText(disk, "comb")),
  ],
  [
    "extents out of order",
    /extent is impossible/,
    async (disk) => await disk.writeAt(uint32(0), await findExtentBlock(disk) + 12 + 12),
  ],
  [
    "an extent beyond the disk",
    /extent is impossible/,
    async (disk) => await disk.writeAt(uint32(5000), await findExtentBlock(disk) + 12 + 8),
  ],
  [
    "extents that claim the same blocks again and again",
    /claim more blocks/,
    async (disk) => {
      const block = await findExtentBlock(disk);
      for (let i = 0; i < 6; i++) {
        await disk.writeAt(uint32(i * 5000), block + 12 + i * 12);
        await disk.writeAt(uint32(3000), block + 12 + i * 12 + 4);
        await disk.writeAt(uint32(1000), block + 12 + i * 12 + 8);
      }
    },
  ],
  [
    "an extent tree whose node is its own child",
    /node is impossible/,
    async (disk) => {
      const block = await findExtentBlock(disk);
      await disk.writeAt(Uint8Array.of(1, 0, 0x54, 1, 1, 0), block + 2);
      await disk.writeAt(uint32(block / 4096), block + 12 + 4);
    },
  ],
  [
    "an extent tree a thousand levels deep",
    /too deep/,
    async (disk) => await disk.writeAt(uint32(1000), await findExtentRoot(disk) + 6),
  ],
  [
    "a group without an inode table",
    /no inode table/,
    async (disk) => await disk.writeAt(uint32(0), 4096 + 8),
  ],
  [
    "more inodes than its groups hold",
    /number of inodes/,
    async (disk) => await disk.writeAt(uint32(0xffffffff), 1024),
  ],
  [
    "groups of no blocks",
    /groups are too large/,
    async (disk) => await disk.writeAt(uint32(0), 1024 + 0x20),
  ],
  [
    "blocks of an absurd size",
    /block size/,
    async (disk) => await disk.writeAt(uint32(40), 1024 + 0x18),
  ],
];

for (const [what, text, attack] of ATTACKS) {
  Deno.test(`the reader refuses ${what}`, async () => {
    const disk = await makeVictim();
    await (await openFilesystem(disk)).readTree();
    await attack(disk);
    const read = async () => await (await openFilesystem(disk)).readTree();
    await assert.rejects(read(), (thrown) => {
      assert.ok(thrown instanceof BangerError, String(thrown));
      assert.equal(thrown.code, "corrupt_data");
      assert.match(thrown.message, text);
      return true;
    });
  });
}
