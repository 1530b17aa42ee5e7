import assert from "node:assert/strict";
import { byteStringOfText, type DirectoryInode, type FileInode } from "../../../lib/base/tree.ts";
import { GIB, MIB } from "../../../lib/base/units.ts";
import type { FilesystemOptions, FilesystemWriter } from "../../../lib/ext4/mod.ts";
import { growRandomTree } from "../../unit/ext4/random_tree.ts";
import {
  addDirectory,
  addFile,
  attributes,
  randomBytes,
  seededRandom,
  symlink,
} from "../../unit/ext4/support.ts";
import { assertClean, debugfs, run, scratchDirectory, writeDisk } from "./judges.ts";

type Fill = (root: DirectoryInode, sink: FilesystemWriter) => Promise<void> | void;

/** Data, hole, data, hole, …: each piece is an extent. */
async function addComb(root: DirectoryInode, sink: FilesystemWriter, teeth: number): Promise<void> {
  const writer = sink.begin();
  const tooth = new Uint8Array(4096).fill(1);
  for (let i = 0; i < teeth; i++) {
    await writer.write(tooth);
    await writer.writeHole(8 * 4096);
  }
  root.entries.set(byteStringOfText("comb"), {
    kind: "file",
    attributes: attributes(),
    content: await writer.end(),
  });
}

async function addLarge(root: DirectoryInode, sink: FilesystemWriter): Promise<void> {
  const chunk = randomBytes(seededRandom(1), MIB);
  const writer = sink.begin();
  for (let i = 0; i < 450; i++) await writer.write(chunk);
  root.entries.set(byteStringOfText("large"), {
    kind: "file",
    attributes: attributes(),
    content: await writer.end(),
  });
}

async function addBeyond4Gib(root: DirectoryInode, sink: FilesystemWriter): Promise<void> {
  const writer = sink.begin();
  await writer.write(randomBytes(seededRandom(1), MIB));
  await writer.writeHole(6 * GIB);
  await writer.write(randomBytes(seededRandom(2), MIB));
  root.entries.set(byteStringOfText("beyond"), {
    kind: "file",
    attributes: attributes(),
    content: await writer.end(),
  });
}

async function addEntries(root: DirectoryInode, sink: FilesystemWriter, count: number): Promise<void> {
  const directory = addDirectory(root, "many");
  const file = await addFile(sink, root, "shared", "the same for many names");
  let links = 1;
  let current: FileInode = file;
  for (let i = 0; i < count; i++) {
    if (++links > 60_000) {
      current = { ...file, attributes: attributes(), content: { sizeBytes: 0, token: undefined } };
      links = 1;
    }
    directory.entries.set(byteStringOfText(`entry-${i}.list`), current);
  }
}

async function addSharedXattrs(root: DirectoryInode, sink: FilesystemWriter): Promise<void> {
  const xattrs = new Map([["user.shared", new Uint8Array(500).fill(1)], [
    "security.capability",
    new Uint8Array(20),
  ]]);
  for (let i = 0; i < 2500; i++) await addFile(sink, root, `f${i}`, "", { xattrs });
  for (let i = 0; i < 100; i++) {
    await addFile(sink, root, `g${i}`, "x", { xattrs: new Map([["user.own", new Uint8Array(200).fill(i)]]) });
  }
}

function addEveryKind(root: DirectoryInode): void {
  const set = (name: string, inode: Parameters<typeof root.entries.set>[1]) =>
    root.entries.set(byteStringOfText(name), inode);
  for (const length of [1, 58, 59, 60, 61, 4095]) set(`link${length}`, symlink("t".repeat(length)));
  const kinds = ["character-device", "block-device", "fifo", "socket"] as const;
  kinds.forEach((kind, i) =>
    [[0, 0], [1, 3], [255, 255], [256, 0], [0, 256], [4095, 0xfffff]].forEach(([major, minor], j) =>
      set(`${kind}${j}`, {
        kind,
        attributes: attributes({ mode: 0o600 + i, uid: 2 ** 32 - 2, gid: 70_000 }),
        major: i < 2 ? major! : 0,
        minor: i < 2 ? minor! : 0,
      })
    )
  );
}

async function addThenDrop(root: DirectoryInode, sink: FilesystemWriter): Promise<void> {
  for (let i = 0; i < 40; i++) await addFile(sink, root, "over", randomBytes(seededRandom(i), 700_000));
  const aborted = sink.begin();
  await aborted.write(randomBytes(seededRandom(1), 5 * MIB));
  await aborted.abort();
  await addFile(sink, root, "kept", "kept");
}

const CASES: readonly [string, Fill, Partial<FilesystemOptions>][] = [
  ["an empty disk", () => {}, {}],
  ["a disk of 1 MiB", () => {}, { sizeBytes: MIB }],
  ["the largest disk without a journal", () => {}, { sizeBytes: 8 * MIB - 4096 }],
  ["the smallest disk with a journal", () => {}, { sizeBytes: 8 * MIB }],
  ["one group and a little", () => {}, { sizeBytes: 128 * MIB + 80 * 4096 + 123 }],
  ["one group and too little for a second", () => {}, { sizeBytes: 128 * MIB + 40 * 4096 }],
  ["a size between groups", (root, sink) => addFile(sink, root, "f", "x").then(() => {}), {
    sizeBytes: 5 * GIB + 77 * MIB + 4097,
  }],
  ["a disk of 8 GiB", () => {}, { sizeBytes: 8 * GIB }],
  ["a disk of 3 TiB", () => {}, { sizeBytes: 3072 * GIB }],
  ["one file that crosses groups", addLarge, {}],
  ["one file that fills its disk", addLarge, { sizeBytes: 512 * MIB }],
  ["a file beyond 4 GiB", addBeyond4Gib, {}],
  ["an extent tree of one level", (root, sink) => addComb(root, sink, 1000), {}],
  ["an extent tree of two levels", (root, sink) => addComb(root, sink, 3000), {}],
  ["every kind of inode", addEveryKind, {}],
  ["a directory of 18,000 entries", (root, sink) => addEntries(root, sink, 18_000), {}],
  ["a directory of 200,000 entries", (root, sink) => addEntries(root, sink, 200_000), {}],
  ["attribute blocks shared and not", addSharedXattrs, {}],
  ["contents that were replaced or aborted", addThenDrop, {}],
  ["more inodes than the usual ratio", async (root, sink) => {
    const directory = addDirectory(root, "d");
    for (let i = 0; i < 6000; i++) await addFile(sink, directory, `${i}`, "");
  }, { sizeBytes: 64 * MIB }],
];

for (const [what, fill, options] of CASES) {
  Deno.test(`e2fsck has nothing to say about ${what}`, async () => {
    await using scratch = await scratchDirectory();
    const disk = `${scratch.path}/disk.ext4`;
    await writeDisk(disk, fill, options);
    await assertClean(disk);
  });
}

for (const seed of [101, 102, 103]) {
  Deno.test(`e2fsck has nothing to say about a random tree (seed ${seed})`, async () => {
    await using scratch = await scratchDirectory();
    const disk = `${scratch.path}/disk.ext4`;
    await writeDisk(disk, (root, sink) => growRandomTree(seededRandom(seed), root, sink, 1500));
    await assertClean(disk);
  });
}

Deno.test("e2fsck has nothing to say about more than 65,000 subdirectories", async () => {
  await using scratch = await scratchDirectory();
  const disk = `${scratch.path}/disk.ext4`;
  await writeDisk(disk, (root) => {
    const parent = addDirectory(root, "parent");
    for (let i = 0; i < 65_100; i++) addDirectory(parent, `d${i}`);
  });
  await assertClean(disk);
  assert.match(await debugfs(disk, "stat /parent"), /Links: 1 /);
});

Deno.test("a written disk is sparse, and two are the same to the byte", async () => {
  await using scratch = await scratchDirectory();
  const [one, two] = [`${scratch.path}/one`, `${scratch.path}/two`];
  for (const path of [one, two]) {
    await writeDisk(path, (root, sink) => growRandomTree(seededRandom(5), root, sink, 800), {
      sizeBytes: 400 * MIB,
    });
  }
  await run("cmp", one, two);
  const { blocks } = await Deno.stat(one);
  assert.ok(blocks! * 512 < 40 * MIB, `${blocks! * 512} bytes`);
});

Deno.test("an empty 8 GiB disk is made in no time", async () => {
  await using scratch = await scratchDirectory();
  await writeDisk(`${scratch.path}/warm-up`, () => {}, { sizeBytes: 8 * GIB });
  const times: number[] = [];
  for (let i = 0; i < 5; i++) {
    const start = performance.now();
    await writeDisk(`${scratch.path}/disk${i}`, () => {}, { sizeBytes: 8 * GIB });
    times.push(performance.now() - start);
  }
  // The best of five: other work on the machine only adds to it.
  assert.ok(Math.min(...times) < 100, `${times.map((ms) => ms.toFixed(0))} ms`);
});
