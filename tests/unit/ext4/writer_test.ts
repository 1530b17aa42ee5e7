import assert from "node:assert/strict";
import { BangerError, type ErrorCode } from "../../../lib/base/errors.ts";
import {
  byteStringOfText,
  type DirectoryInode,
  emptyDirectory,
  type FileInode,
  type Inode,
} from "../../../lib/base/tree.ts";
import { GIB, MIB } from "../../../lib/base/units.ts";
import { FilesystemWriter, openFilesystem } from "../../../lib/ext4/mod.ts";
import { growRandomTree } from "./random_tree.ts";
import {
  addDirectory,
  addFile,
  attributes,
  describeTree,
  MemoryDisk,
  OPTIONS,
  randomBytes,
  seededRandom,
  store,
  symlink,
  writeFilesystem,
} from "./support.ts";

function fails(code: ErrorCode, text: RegExp): (thrown: unknown) => boolean {
  return (thrown) => {
    assert.ok(thrown instanceof BangerError, String(thrown));
    assert.equal(thrown.code, code);
    assert.match(thrown.message, text);
    return true;
  };
}

for (const seed of [1, 2, 3, 4]) {
  Deno.test(`a random tree of names that are any bytes (P8; seed ${seed}) is read back as it was written`, async () => {
    const disk = new MemoryDisk();
    await using writer = await FilesystemWriter.create(disk, OPTIONS);
    const root = emptyDirectory();
    await growRandomTree(seededRandom(seed), root, writer, 400);
    const written = await describeTree(root, (content) => writer.readContent(content));
    await writer.finish(root);
    const reader = await openFilesystem(disk);
    const read = await reader.readTree();
    assert.ok(read.entries.delete(byteStringOfText("lost+found")));
    assert.deepEqual(await describeTree(read, (content) => reader.readContent(content)), written);
  });
}

Deno.test("the same input gives the same bytes, whatever the order of a map's entries", async () => {
  const write = async (reversed: boolean) => {
    const disk = new MemoryDisk();
    await writeFilesystem(disk, async (root, sink) => {
      const made: [string, Inode][] = [];
      for (let i = 0; i < 500; i++) {
        const content = await store(sink, [new TextEncoder().encode(`content ${i}`)]);
        made.push([`name-${i}`, { kind: "file", attributes: attributes(), content }]);
      }
      if (reversed) made.reverse();
      for (const [name, inode] of made) root.entries.set(byteStringOfText(name), inode);
    });
    return disk.digest();
  };
  assert.equal(await write(false), await write(true));
});

Deno.test("content is the same however it is cut into chunks", async () => {
  const random = seededRandom(7);
  const bytes = randomBytes(random, 300_000);
  bytes.fill(0, 50_000, 200_000);
  bytes.fill(0, 210_000, 225_000);
  const digests = new Set<string>();
  for (const chunkBytes of [1, 1000, 4096, 5000, 65_536, 300_000]) {
    const disk = new MemoryDisk();
    await writeFilesystem(disk, async (root, sink) => {
      const chunks: Uint8Array[] = [];
      for (let at = 0; at < bytes.length; at += chunkBytes) chunks.push(bytes.subarray(at, at + chunkBytes));
      const content = await store(sink, chunks);
      root.entries.set(byteStringOfText("f"), { kind: "file", attributes: attributes(), content });
    });
    digests.add(disk.digest());
  }
  assert.equal(digests.size, 1);
});

Deno.test("a chunk may be reused as soon as write() resolves", async () => {
  const disk = new MemoryDisk();
  await using writer = await FilesystemWriter.create(disk, OPTIONS);
  const content = writer.begin();
  const chunk = new Uint8Array(3 * MIB + 17);
  await content.write(chunk.fill(1));
  await content.write(chunk.fill(2));
  const stored = await content.end();
  chunk.fill(3);
  const counts = [0, 0, 0, 0];
  for await (const read of writer.readContent(stored)) for (const byte of read) counts[byte]!++;
  assert.deepEqual(counts, [0, chunk.length, chunk.length, 0]);
});

Deno.test("an empty 8 GiB filesystem takes few writes", async () => {
  const disk = new MemoryDisk();
  const { sizeBytes } = await writeFilesystem(disk, () => {}, { sizeBytes: 8 * GIB });
  assert.equal(sizeBytes, 8 * GIB);
  assert.equal(await disk.sizeBytes(), 8 * GIB);
  assert.ok(disk.writes < 40, `${disk.writes} writes`);
  assert.ok(disk.bytesWritten < 4 * MIB, `${disk.bytesWritten} bytes`);
});

Deno.test("zeros take no space", async () => {
  const disk = new MemoryDisk();
  const { freeBytes } = await writeFilesystem(disk, async (root, sink) => {
    await addFile(sink, root, "zeros", new Uint8Array(20 * MIB));
    const hole = sink.begin();
    await hole.write(Uint8Array.of(1));
    await hole.writeHole(5000 * GIB);
    await hole.write(Uint8Array.of(2));
    root.entries.set(byteStringOfText("hole"), {
      kind: "file",
      attributes: attributes(),
      content: await hole.end(),
    });
  });
  const empty = await writeFilesystem(new MemoryDisk(), () => {});
  assert.equal(empty.freeBytes - freeBytes, 2 * 4096);
});

Deno.test("what is overwritten or aborted leaves no used block", async () => {
  const wanted = await writeFilesystem(new MemoryDisk(), (root, sink) => addSmall(root, sink));
  const given = await writeFilesystem(new MemoryDisk(), async (root, sink) => {
    await addFile(sink, root, "a", randomBytes(seededRandom(1), 3 * MIB));
    for (const sizeBytes of [10, 5000, 5 * MIB]) {
      const aborted = sink.begin();
      await aborted.write(new Uint8Array(sizeBytes).fill(7));
      await aborted.abort();
      await aborted.abort();
    }
    await addSmall(root, sink);
  });
  assert.equal(given.freeBytes, wanted.freeBytes);
});

async function addSmall(root: DirectoryInode, sink: FilesystemWriter): Promise<void> {
  await addFile(sink, root, "a", "small");
}

Deno.test("content after an aborted one is its own, zeros included", async () => {
  const disk = new MemoryDisk();
  const expected = new Uint8Array(9000);
  expected[8999] = 1;
  await writeFilesystem(disk, async (root, sink) => {
    const aborted = sink.begin();
    await aborted.write(new Uint8Array(4 * MIB).fill(7));
    await aborted.abort();
    await addFile(sink, root, "f", expected);
  });
  const reader = await openFilesystem(disk);
  const file = (await reader.readTree()).entries.get(byteStringOfText("f")) as FileInode;
  const chunks = await Array.fromAsync(reader.readContent(file.content), (chunk) => chunk.slice());
  assert.deepEqual(chunks[0], expected);
});

Deno.test("files that share content without being links get a copy each", async () => {
  const disk = new MemoryDisk();
  const bytes = randomBytes(seededRandom(3), 100_000);
  await writeFilesystem(disk, async (root, sink) => {
    const { content } = await addFile(sink, root, "a", bytes);
    root.entries.set(byteStringOfText("b"), {
      kind: "file",
      attributes: attributes({ mode: 0o600 }),
      content,
    });
  });
  const reader = await openFilesystem(disk);
  const lines = await describeTree(await reader.readTree(), (content) => reader.readContent(content));
  const contents = lines.filter((line) => / file /.test(line)).map((line) => line.split(" file ")[1]);
  assert.equal(contents.length, 2);
  assert.equal(contents[0], contents[1]);
});

Deno.test("a lost+found of the tree's own is kept", async () => {
  const disk = new MemoryDisk();
  await writeFilesystem(disk, async (root, sink) => {
    const own = addDirectory(root, "lost+found", { uid: 77, mode: 0o711 });
    await addFile(sink, own, "#123", "found");
  });
  const tree = await (await openFilesystem(disk)).readTree();
  const own = tree.entries.get(byteStringOfText("lost+found")) as DirectoryInode;
  assert.equal(own.attributes.uid, 77);
  assert.equal(own.entries.size, 1);
});

const deep = 10_000;
Deno.test(`a tree ${deep} directories deep is written and read without recursion (P9)`, async () => {
  const disk = new MemoryDisk();
  const summary = await writeFilesystem(disk, (root) => {
    let at = root;
    for (let i = 0; i < deep; i++) at = addDirectory(at, "d");
  });
  assert.equal(summary.directories, deep + 2);
  let at = await (await openFilesystem(disk)).readTree();
  let depth = 0;
  for (; at.entries.has(byteStringOfText("d")); depth++) {
    at = at.entries.get(byteStringOfText("d")) as DirectoryInode;
  }
  assert.equal(depth, deep);
});

const BAD_TREES: readonly [string, (root: DirectoryInode) => void, ErrorCode, RegExp][] = [
  ["a name with a slash", (root) => void addDirectory(root, "a/b"), "corrupt_data", /a\/b/],
  ["the name ..", (root) => void addDirectory(addDirectory(root, "x"), ".."), "corrupt_data", /\/x\/\.\./],
  ["an empty name", (root) => void addDirectory(root, ""), "corrupt_data", /a name must be/],
  [
    "a name of 256 bytes",
    (root) => void addDirectory(root, "n".repeat(256)),
    "corrupt_data",
    /a name must be/,
  ],
  [
    "an empty symlink",
    (root) => void root.entries.set(byteStringOfText("s"), symlink("")),
    "corrupt_data",
    /target/,
  ],
  [
    "a symlink of 4096 bytes",
    (root) => void root.entries.set(byteStringOfText("s"), symlink("t".repeat(4096))),
    "corrupt_data",
    /target/,
  ],
  [
    "a directory in itself",
    (root) => void root.entries.set(byteStringOfText("r"), root),
    "corrupt_data",
    /same/,
  ],
  [
    "a directory with two names",
    (root) => void root.entries.set(byteStringOfText("b"), addDirectory(root, "a")),
    "corrupt_data",
    /same directory/,
  ],
  [
    "a time after 2310 (D3)",
    (root) => void addDirectory(root, "d", { mtime: { seconds: 2 ** 33 + 2 ** 31, nanoseconds: 0 } }),
    "corrupt_data",
    /time/,
  ],
  ["a negative owner (D3)", (root) => void addDirectory(root, "d", { uid: -1 }), "corrupt_data", /owner/],
  [
    "an owner of 33 bits (D3)",
    (root) => void addDirectory(root, "d", { gid: 2 ** 32 }),
    "corrupt_data",
    /owner/,
  ],
  [
    "a device beyond range (D1)",
    (root) =>
      void root.entries.set(byteStringOfText("dev"), {
        kind: "block-device",
        attributes: attributes(),
        major: 4096,
        minor: 0,
      }),
    "corrupt_data",
    /4096:0/,
  ],
  [
    "lost+found that is a file",
    (root) => void root.entries.set(byteStringOfText("lost+found"), symlink("x")),
    "corrupt_data",
    /lost\+found/,
  ],
];
for (const [what, make, code, text] of BAD_TREES) {
  Deno.test(`finish() refuses ${what}`, async () => {
    await assert.rejects(writeFilesystem(new MemoryDisk(), (root) => make(root)), fails(code, text));
  });
}

Deno.test("finish() refuses more than 65000 hard links", async () => {
  const written = writeFilesystem(new MemoryDisk(), async (root, sink) => {
    const file = await addFile(sink, root, "a", "x");
    for (let i = 0; i < 65_000; i++) root.entries.set(byteStringOfText(`l${i}`), file);
  });
  await assert.rejects(written, fails("corrupt_data", /hard links/));
});

Deno.test("a size that is too small fails with no_space and a hint", async () => {
  const whileStreaming = writeFilesystem(
    new MemoryDisk(),
    async (root, sink) => void await addFile(sink, root, "big", randomBytes(seededRandom(1), 5 * MIB)),
    { sizeBytes: 4 * MIB },
  );
  await assert.rejects(whileStreaming, fails("no_space", /fit/));
  const inTheEnd = writeFilesystem(
    new MemoryDisk(),
    async (root, sink) => void await addFile(sink, root, "big", randomBytes(seededRandom(1), 15.9 * MIB)),
    { sizeBytes: 16 * MIB },
  );
  await assert.rejects(inTheEnd, fails("no_space", /fit/));
});

const BAD_OPTIONS = [
  ["a label of 17 bytes", { label: "x".repeat(17) }],
  ["a size below the smallest", { sizeBytes: 1000 }],
  ["a size above the largest", { sizeBytes: 2 ** 44 }],
  ["a size that is no whole number", { sizeBytes: 2.5 * 2 ** 30 + 0.5 }],
] as const;
for (const [what, options] of BAD_OPTIONS) {
  Deno.test(`create() refuses ${what}`, async () => {
    const created = FilesystemWriter.create(new MemoryDisk(), { ...OPTIONS, ...options });
    await assert.rejects(created, fails("invalid_argument", /Cannot/));
  });
}

Deno.test("content of another sink is refused", async () => {
  const other = await FilesystemWriter.create(new MemoryDisk(), OPTIONS);
  const content = await store(other, [Uint8Array.of(1)]);
  const written = writeFilesystem(new MemoryDisk(), (root) => {
    root.entries.set(byteStringOfText("f"), { kind: "file", attributes: attributes(), content });
  });
  await assert.rejects(written, fails("internal", /another sink/));
});

Deno.test("a failing disk's error reaches the caller, and nothing is left in the air", async () => {
  const disk = new MemoryDisk();
  let writes = 0;
  const failing = {
    readAt: disk.readAt.bind(disk),
    truncate: disk.truncate.bind(disk),
    sizeBytes: disk.sizeBytes.bind(disk),
    writeAt: (bytes: Uint8Array, offsetBytes: number) =>
      ++writes > 2 ? Promise.reject(new Error("disk is gone")) : disk.writeAt(bytes, offsetBytes),
  };
  const written = writeFilesystem(failing, async (root, sink) => {
    await addFile(sink, root, "f", randomBytes(seededRandom(1), 9 * MIB));
  });
  await assert.rejects(written, /disk is gone/);
});
