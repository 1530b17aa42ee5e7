import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { BangerError } from "../../../lib/base/errors.ts";
import { byteStringOfText, type DirectoryInode, type FileInode } from "../../../lib/base/tree.ts";
import { MIB } from "../../../lib/base/units.ts";
import { openFilesystem, readFilesystemSummary } from "../../../lib/ext4/mod.ts";
import { randomBytes, seededRandom } from "../../unit/ext4/support.ts";
import { assertClean, debugfs, openDisk, run, scratchDirectory, writeDisk } from "./judges.ts";

/** What mke2fs -d gets: names, links, holes, a large directory, a file of many blocks. */
async function makeSource(path: string): Promise<Map<string, Uint8Array>> {
  const random = seededRandom(31);
  const files = new Map<string, Uint8Array>();
  await Deno.mkdir(`${path}/many`, { recursive: true });
  await Deno.mkdir(`${path}/a/b/c`, { recursive: true });
  for (let i = 0; i < 1200; i++) files.set(`many/file-${i}`, randomBytes(random, i % 50));
  files.set("a/empty", new Uint8Array(0));
  files.set("a/b/large", randomBytes(random, 7 * MIB + 123));
  const holes = new Uint8Array(3 * MIB);
  holes.set(randomBytes(random, 5000), MIB);
  files.set("a/b/c/holes", holes);
  for (const [name, bytes] of files) await Deno.writeFile(`${path}/${name}`, bytes);
  await Deno.link(`${path}/a/b/large`, `${path}/a/hard`);
  await Deno.symlink("b/large", `${path}/a/short`);
  await Deno.symlink("x/".repeat(120), `${path}/a/long`);
  await Deno.chmod(`${path}/a/b`, 0o2750);
  return files;
}

function at(root: DirectoryInode, path: string) {
  let here = root;
  const names = path.split("/");
  for (const name of names.slice(0, -1)) here = here.entries.get(byteStringOfText(name)) as DirectoryInode;
  return here.entries.get(byteStringOfText(names.at(-1)!));
}

const FORMATS = [
  ["mke2fs's defaults", ["-t", "ext4"]],
  ["blocks of 1 KiB", ["-t", "ext4", "-b", "1024"]],
  ["block pointers as in ext3", ["-t", "ext3"]],
  ["block pointers in small blocks", ["-t", "ext2", "-b", "1024"]],
  ["no checksums and 32-bit descriptors", ["-t", "ext4", "-O", "^metadata_csum,^64bit"]],
  ["a checksum seed of its own", ["-t", "ext4", "-O", "metadata_csum_seed"]],
  ["small inodes", ["-t", "ext3", "-I", "128"]],
] as const;

for (const [what, options] of FORMATS) {
  Deno.test(`the reader reads a disk that mke2fs made: ${what}`, async () => {
    await using scratch = await scratchDirectory();
    const source = `${scratch.path}/source`;
    const files = await makeSource(source);
    const disk = `${scratch.path}/disk`;
    await run("mke2fs", "-q", "-d", source, ...options, disk, "64M");
    await using file = await openDisk(disk);
    const reader = await openFilesystem(file);
    const root = await reader.readTree();
    for (const [name, bytes] of files) {
      const inode = at(root, name) as FileInode;
      assert.equal(inode.content.sizeBytes, bytes.length, name);
      const chunks = await Array.fromAsync(reader.readContent(inode.content), (chunk) => Buffer.from(chunk));
      assert.ok(Buffer.concat(chunks).equals(bytes), name);
    }
    assert.equal(at(root, "a/hard"), at(root, "a/b/large"));
    assert.equal((at(root, "a/short") as { target?: string }).target, "b/large");
    assert.equal((at(root, "a/long") as { target?: string }).target, "x/".repeat(120));
    assert.equal(at(root, "a/b")!.attributes.mode, 0o2750);
    assert.equal((at(root, "many") as DirectoryInode).entries.size, 1200);
    // And what was read can be written.
    const copy = `${scratch.path}/copy`;
    await writeDisk(copy, async (copyRoot, sink) => {
      const tree = await reader.copyTree(byteStringOfText("/"), sink);
      for (const [name, inode] of tree!.entries) copyRoot.entries.set(name, inode);
    });
    await assertClean(copy);
  });
}

Deno.test("the reader and dumpe2fs agree about a disk that mke2fs made", async () => {
  await using scratch = await scratchDirectory();
  const disk = `${scratch.path}/disk`;
  await run("mke2fs", "-q", "-t", "ext4", "-L", "some label", disk, "300M");
  const shown = await run("dumpe2fs", "-h", disk);
  const field = (name: string) => new RegExp(`^${name}: +(.*)$`, "m").exec(shown)![1];
  await using file = await openDisk(disk);
  const description = await readFilesystemSummary(file);
  assert.equal(description.label, field("Filesystem volume name"));
  assert.equal(description.uuid, field("Filesystem UUID"));
  assert.equal(description.features.join(" "), field("Filesystem features"));
  assert.equal(description.sizeBytes, Number(field("Block count")) * Number(field("Block size")));
  assert.equal(description.inodeCount, Number(field("Inode count")));
});

Deno.test("the reader sees attributes that debugfs set", async () => {
  await using scratch = await scratchDirectory();
  const source = `${scratch.path}/source`;
  await Deno.mkdir(source);
  await Deno.writeTextFile(`${source}/f`, "x");
  const disk = `${scratch.path}/disk`;
  await run("mke2fs", "-q", "-t", "ext4", "-d", source, disk, "16M");
  for (const [name, value] of [["user.short", "abc"], ["user.long", "v".repeat(900)], ["trusted.t", "t"]]) {
    await Deno.writeTextFile(`${scratch.path}/value`, value!);
    await run("debugfs", "-w", "-R", `ea_set -f ${scratch.path}/value /f ${name}`, disk);
  }
  await using file = await openDisk(disk);
  const inode = (await (await openFilesystem(file)).readTree()).entries.get(byteStringOfText("f"))!;
  const read = [...inode.attributes.xattrs].map(([name, value]) => [name, new TextDecoder().decode(value)]);
  assert.deepEqual(read.sort(), [["trusted.t", "t"], ["user.long", "v".repeat(900)], ["user.short", "abc"]]);
});

const REFUSED = [
  ["inline data", ["-O", "inline_data"], "host_unsupported", /inline_data/],
  ["encryption", ["-O", "encrypt"], "host_unsupported", /encrypt/],
] as const;
for (const [what, options, code, text] of REFUSED) {
  Deno.test(`the reader refuses ${what} by name`, async () => {
    await using scratch = await scratchDirectory();
    const disk = `${scratch.path}/disk`;
    await run("mke2fs", "-q", "-t", "ext4", ...options, disk, "16M");
    await using file = await openDisk(disk);
    await assert.rejects(
      openFilesystem(file),
      (thrown) => thrown instanceof BangerError && thrown.code === code && text.test(thrown.message),
    );
  });
}

Deno.test("the reader refuses a disk whose journal was not replayed", async () => {
  await using scratch = await scratchDirectory();
  const disk = `${scratch.path}/disk`;
  await writeDisk(disk);
  await debugfs(disk, "stats");
  await run("debugfs", "-w", "-R", "feature needs_recovery", disk);
  await using file = await openDisk(disk);
  await assert.rejects(
    openFilesystem(file),
    (thrown) => thrown instanceof BangerError && thrown.code === "wrong_state",
  );
});
