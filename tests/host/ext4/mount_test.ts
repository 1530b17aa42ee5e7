import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { byteStringOfText, type DirectoryInode } from "../../../lib/base/tree.ts";
import { MIB } from "../../../lib/base/units.ts";
import type { FilesystemWriter } from "../../../lib/ext4/mod.ts";
import {
  addDirectory,
  addFile,
  attributes,
  randomBytes,
  seededRandom,
  symlink,
} from "../../unit/ext4/support.ts";
import { assertClean, host, run, scratchDirectory, writeDisk } from "./judges.ts";

/** Mounts through a loop device until disposed. @returns undefined, with the reason printed, where that is impossible */
async function tryMount(disk: string, directory: string): Promise<AsyncDisposable | undefined> {
  await Deno.mkdir(directory);
  const { code, stderr } = await host.processes.run({
    program: "mount",
    args: ["-o", "loop", disk, directory],
  });
  if (code === 0) return { [Symbol.asyncDispose]: async () => void await run("umount", directory) };
  const reason = `skipped: this host cannot mount a disk image: ${stderr.trim()}\n`;
  Deno.stderr.writeSync(new TextEncoder().encode(reason));
  return undefined;
}

const LARGE = randomBytes(seededRandom(1), 3 * MIB);

async function fill(root: DirectoryInode, sink: FilesystemWriter): Promise<void> {
  const large = addDirectory(root, "large");
  for (let i = 0; i < 20_000; i++) {
    await addFile(sink, large, `entry-${i}`, i % 100 === 0 ? `content ${i}` : "");
  }
  const file = await addFile(sink, root, "file", LARGE, {
    mode: 0o4711,
    uid: 3_000_000_000,
    gid: 70_000,
    mtime: { seconds: 4_500_000_000, nanoseconds: 987_654_321 },
    xattrs: new Map([["user.long", new Uint8Array(600).fill(0x61)], ["user.short", Uint8Array.of(0x62)]]),
  });
  root.entries.set(byteStringOfText("hard"), file);
  root.entries.set(byteStringOfText("short"), symlink("file"));
  root.entries.set(byteStringOfText("long"), symlink("l".repeat(2000)));
  root.entries.set(byteStringOfText("device"), {
    kind: "character-device",
    attributes: attributes({ mode: 0o640 }),
    major: 300,
    minor: 70_000,
  });
  await addFile(sink, root, "holes", Buffer.concat([LARGE, new Uint8Array(9 * MIB), LARGE]));
}

Deno.test("the kernel mounts a written disk, sees the tree and can go on writing", async () => {
  await using scratch = await scratchDirectory();
  const disk = `${scratch.path}/disk.ext4`;
  const written = await writeDisk(disk, fill);
  const directory = `${scratch.path}/mount`;
  {
    await using mounted = await tryMount(disk, directory);
    if (!mounted) return;
    await checkTree(directory);
    await checkStatfs(directory, written.freeBytes);
    await changeTree(directory);
  }
  await assertClean(disk);
});

async function checkTree(directory: string): Promise<void> {
  const file = await Deno.lstat(`${directory}/file`);
  assert.deepEqual(
    { mode: file.mode, uid: file.uid, gid: file.gid, size: file.size, links: file.nlink },
    { mode: 0o104711, uid: 3_000_000_000, gid: 70_000, size: LARGE.length, links: 2 },
  );
  assert.equal(await run("stat", "-c", "%.9Y", `${directory}/file`), "4500000000.987654321\n");
  assert.equal((await Deno.lstat(`${directory}/hard`)).ino, file.ino);
  assert.ok(Buffer.from(await Deno.readFile(`${directory}/file`)).equals(LARGE));
  assert.equal(await Deno.readLink(`${directory}/short`), "file");
  assert.equal(await Deno.readLink(`${directory}/long`), "l".repeat(2000));
  assert.equal(await run("stat", "-c", "%t:%T", `${directory}/device`), "12c:11170\n");
  const holes = await Deno.lstat(`${directory}/holes`);
  assert.equal(holes.size, 15 * MIB);
  assert.ok(holes.blocks! * 512 < 7 * MIB);
  const names = new Set(Array.from(Deno.readDirSync(`${directory}/large`), (entry) => entry.name));
  assert.equal(names.size, 20_000);
  for (let i = 0; i < 20_000; i += 100) {
    assert.equal(await Deno.readTextFile(`${directory}/large/entry-${i}`), `content ${i}`);
  }
}

/** The kernel's own count of free space must agree with ours: overhead and reservations too. */
async function checkStatfs(directory: string, freeBytes: number): Promise<void> {
  const shown = await run("stat", "-f", "-c", "%S %f", directory);
  const [blockSize, free] = shown.split(" ").map(Number);
  assert.equal(blockSize! * free!, freeBytes);
}

async function changeTree(directory: string): Promise<void> {
  for (let i = 0; i < 2000; i++) await Deno.writeTextFile(`${directory}/large/new-${i}`, `${i}`);
  for (let i = 0; i < 20_000; i += 3) await Deno.remove(`${directory}/large/entry-${i}`);
  await Deno.mkdir(`${directory}/new/deep`, { recursive: true });
  await Deno.writeFile(`${directory}/new/deep/data`, LARGE);
  await Deno.remove(`${directory}/holes`);
}

Deno.test("the kernel mounts disks of all sizes", async () => {
  await using scratch = await scratchDirectory();
  for (const sizeBytes of [MIB, 8 * MIB, 128 * MIB + 80 * 4096, 300 * MIB + 5, 3 * 2 ** 40]) {
    const disk = `${scratch.path}/disk-${sizeBytes}`;
    await writeDisk(disk, () => {}, { sizeBytes });
    await using mounted = await tryMount(disk, `${scratch.path}/mount-${sizeBytes}`);
    if (!mounted) return;
    await Deno.writeFile(`${scratch.path}/mount-${sizeBytes}/f`, new Uint8Array(100_000).fill(1));
  }
});
