import assert from "node:assert/strict";
import { BangerError } from "../../../lib/base/errors.ts";
import { byteStringOfText, type DirectoryInode, type FileInode } from "../../../lib/base/tree.ts";
import { GIB, MIB } from "../../../lib/base/units.ts";
import { openFilesystem, readFilesystemSummary } from "../../../lib/ext4/mod.ts";
import { growRandomTree } from "./random_tree.ts";
import {
  addDirectory,
  addFile,
  attributes,
  describeTree,
  MemoryDisk,
  randomBytes,
  seededRandom,
  writeFilesystem,
} from "./support.ts";

async function makeDisk(sizeBytes?: number): Promise<MemoryDisk> {
  const disk = new MemoryDisk();
  await writeFilesystem(disk, async (root, sink) => {
    await growRandomTree(seededRandom(11), root, sink, 150);
    const home = addDirectory(addDirectory(root, "root"), "sub");
    const file = await addFile(sink, home, "file", "in the home directory");
    home.entries.set(byteStringOfText("link"), file);
    const large = addDirectory(root, "large");
    for (let i = 0; i < 700; i++) await addFile(sink, large, `entry-${i}`, "");
  }, sizeBytes === undefined ? {} : { sizeBytes });
  return disk;
}

Deno.test("readFilesystemSummary() tells what the writer was given", async () => {
  const disk = new MemoryDisk();
  const summary = await writeFilesystem(disk, () => {}, { sizeBytes: 64 * MIB });
  const description = await readFilesystemSummary(disk);
  assert.equal(description.sizeBytes, 64 * MIB);
  assert.equal(description.freeBytes, summary.freeBytes);
  assert.equal(description.usedBytes, 64 * MIB - summary.freeBytes);
  assert.equal(description.inodeCount, summary.inodeCount);
  assert.equal(description.usedInodes, 11);
  assert.equal(description.label, "test");
  assert.equal(description.uuid, "05162738-495a-6b7c-8d9e-afc0d1e2f304");
  assert.equal(
    description.features.join(" "),
    "has_journal ext_attr resize_inode dir_index filetype extent 64bit flex_bg sparse_super large_file " +
      "huge_file dir_nlink extra_isize metadata_csum",
  );
});

Deno.test("copyTree() moves a subtree to another disk, links kept", async () => {
  const source = await openFilesystem(await makeDisk());
  const target = new MemoryDisk();
  await writeFilesystem(target, async (root, sink) => {
    const copied = await source.copyTree(byteStringOfText("/root"), sink);
    for (const [name, inode] of copied!.entries) root.entries.set(name, inode);
  }, { sizeBytes: 8 * GIB });
  const read = await (await openFilesystem(target)).readTree();
  const sub = read.entries.get(byteStringOfText("sub")) as DirectoryInode;
  assert.equal(sub.entries.size, 2);
  assert.equal(sub.entries.get(byteStringOfText("file")), sub.entries.get(byteStringOfText("link")));
});

Deno.test("copyTree() and findTree() find no directory that is not there", async () => {
  const source = await openFilesystem(await makeDisk());
  assert.equal(await source.findTree(byteStringOfText("/root/none")), undefined);
  assert.equal(await source.findTree(byteStringOfText("/root/sub/file")), undefined);
  assert.equal((await source.findTree(byteStringOfText("/root//sub/")))?.entries.size, 2);
});

Deno.test("copyContent() keeps holes as holes, at any file size", async () => {
  const disk = new MemoryDisk();
  await writeFilesystem(disk, async (root, sink) => {
    const content = sink.begin();
    await content.write(randomBytes(seededRandom(1), 10_000));
    await content.writeHole(3000 * GIB);
    await content.write(randomBytes(seededRandom(2), 5000));
    root.entries.set(byteStringOfText("sparse"), {
      kind: "file",
      attributes: attributes(),
      content: await content.end(),
    });
  });
  const source = await openFilesystem(disk);
  const target = new MemoryDisk();
  const { freeBytes } = await writeFilesystem(target, async (root, sink) => {
    const file = (await source.readTree()).entries.get(byteStringOfText("sparse")) as FileInode;
    root.entries.set(byteStringOfText("sparse"), {
      ...file,
      content: await source.copyContent(file.content, sink),
    });
  });
  const empty = await writeFilesystem(new MemoryDisk(), () => {});
  assert.ok(empty.freeBytes - freeBytes < 8 * 4096, `${empty.freeBytes - freeBytes}`);
  const copied = (await (await openFilesystem(target)).readTree()).entries.get(byteStringOfText("sparse"));
  assert.equal((copied as FileInode).content.sizeBytes, 10_000 + 3000 * GIB + 5000);
});

Deno.test("a tree of too many entries is an error, not memory", async () => {
  const reader = await openFilesystem(await makeDisk(), { maxEntries: 100 });
  await assert.rejects(reader.readTree(), /over 100 entries/);
});

Deno.test("what is no filesystem is corrupt_data", async () => {
  const empty = new MemoryDisk();
  await empty.truncate(MIB);
  const cut = await makeDisk();
  await cut.truncate(100 * MIB);
  for (const disk of [new MemoryDisk(), empty, cut]) {
    await assert.rejects(
      openFilesystem(disk),
      (thrown) => thrown instanceof BangerError && thrown.code === "corrupt_data",
    );
  }
});

/** Reads everything; what is wrong must come out as a BangerError. */
async function readAll(disk: MemoryDisk): Promise<"read" | "refused"> {
  try {
    const reader = await openFilesystem(disk, { maxEntries: 20_000 });
    await describeTree(await reader.readTree(), async function* (content) {
      // Hostile sizes would keep the test busy with zeros.
      if (content.sizeBytes < 100 * MIB) yield* reader.readContent(content);
    });
    return "read";
  } catch (thrown) {
    assert.ok(thrown instanceof BangerError, String(thrown));
    return "refused";
  }
}

async function overwrite(disk: MemoryDisk, random: () => number): Promise<void> {
  const pages = disk.pageNumbers;
  const page = pages[Math.floor(random() * pages.length)]!;
  const bytes = randomBytes(random, 1 + Math.floor(random() * 8));
  await disk.writeAt(bytes, page * 4096 + Math.floor(random() * 4080));
}

Deno.test("a spoiled disk is read or refused, and never hangs (seed 42)", async () => {
  const random = seededRandom(42);
  const good = await makeDisk(16 * MIB);
  const outcomes = { read: 0, refused: 0 };
  for (let i = 0; i < 80; i++) {
    const disk = good.copy();
    for (let times = 0; times < 10; times++) await overwrite(disk, random);
    outcomes[await readAll(disk)]++;
  }
  assert.ok(outcomes.refused > 10, JSON.stringify(outcomes));
});

Deno.test("without checksums to help, a spoiled disk is still read or refused (seed 43)", async () => {
  const random = seededRandom(43);
  const good = await makeDisk(16 * MIB);
  // Clears metadata_csum: then every spoiled number reaches the checks behind the checksums.
  await good.writeAt(Uint8Array.of(0x6b, 0, 0, 0), 1024 + 0x64);
  assert.equal(await readAll(good), "read");
  const outcomes = { read: 0, refused: 0 };
  for (let i = 0; i < 120; i++) {
    const disk = good.copy();
    for (let times = 0; times < 20; times++) await overwrite(disk, random);
    outcomes[await readAll(disk)]++;
  }
  assert.ok(outcomes.refused > 10 && outcomes.read > 0, JSON.stringify(outcomes));
});
