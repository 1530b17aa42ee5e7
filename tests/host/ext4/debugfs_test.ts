import { Buffer } from "node:buffer";
import assert from "node:assert/strict";
import { byteStringOfText, type DirectoryInode } from "../../../lib/base/tree.ts";
import type { FilesystemWriter } from "../../../lib/ext4/mod.ts";
import { hashName } from "../../../lib/ext4/name_hash.ts";
import {
  addDirectory,
  addFile,
  attributes,
  randomBytes,
  seededRandom,
  symlink,
} from "../../unit/ext4/support.ts";
import { debugfs, run, scratchDirectory, writeDisk } from "./judges.ts";

async function addSamples(root: DirectoryInode, sink: FilesystemWriter): Promise<void> {
  const etc = addDirectory(root, "etc", { mode: 0o1777, uid: 12, gid: 34 });
  const passwd = await addFile(sink, etc, "passwd", "root:x:0:0::/root:/bin/sh\n", { mode: 0o640, gid: 42 });
  root.entries.set(byteStringOfText("link"), passwd);
  await addFile(sink, root, "sudo", "binary", {
    mode: 0o4755,
    uid: 100_000,
    gid: 2_000_000_000,
    mtime: { seconds: -5, nanoseconds: 999_999_999 },
    xattrs: new Map([
      ["security.capability", Uint8Array.from({ length: 20 }, (_, i) => i)],
      ["user.note", new TextEncoder().encode("hello")],
      ["user.long", new TextEncoder().encode("l".repeat(700))],
    ]),
  });
  root.entries.set(byteStringOfText("short"), symlink("etc/passwd"));
  root.entries.set(byteStringOfText("long"), symlink(`${"d/".repeat(100)}end`));
  root.entries.set(byteStringOfText("null"), {
    kind: "character-device",
    attributes: attributes({ mode: 0o666 }),
    major: 1,
    minor: 3,
  });
  root.entries.set(byteStringOfText("nvme"), {
    kind: "block-device",
    attributes: attributes({ mode: 0o660 }),
    major: 259,
    minor: 70_000,
  });
  await addFile(sink, root, "late", "x", { mtime: { seconds: 2 ** 32 + 5, nanoseconds: 7 } });
}

const STATS: readonly [string, string, RegExp[]][] = [
  ["a hard link", "/link", [/Mode: +0640/, /Group: +42/, /Links: 2 /, /Size: 26/]],
  ["a sticky directory", "/etc", [/Type: directory/, /Mode: +01777/, /User: +12/, /Group: +34/, /Links: 2 /]],
  ["the root", "/", [/Mode: +0755/, /Links: 4 /]],
  ["setuid and 32-bit owners", "/sudo", [/Mode: +04755/, /User: 100000/, /Group: 2000000000/]],
  ["a time before 1970", "/sudo", [/mtime: 0xfffffffb:ee6b27fc/]],
  ["a time after 2106", "/late", [/mtime: 0x00000005:0000001d/]],
  ["a short symlink", "/short", [/Type: symlink/, /Fast link dest: "etc\/passwd"/]],
  ["a long symlink", "/long", [/Type: symlink/, /Size: 203/, /Blockcount: 8/]],
  ["an old device number", "/null", [/Type: character special/, /Device major\/minor number: 01:03/]],
  ["a new device number", "/nvme", [/Type: block special/, /Device major\/minor number: 259:70000/]],
  ["the journal", "<8>", [/Mode: +0600/, /Size: 33554432/]],
  ["lost+found", "<11>", [/Type: directory/, /Mode: +0700/, /Size: 16384/]],
];

Deno.test("debugfs sees what the tree said", async (t) => {
  await using scratch = await scratchDirectory();
  const disk = `${scratch.path}/disk.ext4`;
  await writeDisk(disk, addSamples);
  for (const [what, path, expected] of STATS) {
    await t.step(what, async () => {
      const shown = await debugfs(disk, `stat ${path}`);
      for (const pattern of expected) assert.match(shown, pattern);
    });
  }
  await t.step("attributes in the inode and in a block", async () => {
    assert.match(await debugfs(disk, "ea_get /sudo user.note"), /hello/);
    assert.match(await debugfs(disk, "ea_get /sudo user.long"), /l{700}/);
    const listed = await debugfs(disk, "ea_list /sudo");
    assert.match(listed, /security\.capability \(20\)/);
    assert.match(await debugfs(disk, "stat /sudo"), /File ACL: [1-9]/);
  });
});

Deno.test("debugfs copies out the same tree", async () => {
  await using scratch = await scratchDirectory();
  const disk = `${scratch.path}/disk.ext4`;
  const random = seededRandom(8);
  const expected = new Map<string, Uint8Array>();
  await writeDisk(disk, async (root, sink) => {
    const top = addDirectory(root, "top");
    const directories: [string, DirectoryInode][] = [["top", top]];
    for (let i = 0; i < 300; i++) {
      const [path, parent] = directories[Math.floor(random() * directories.length)]!;
      if (i % 10 === 0) {
        directories.push([`${path}/d${i}`, addDirectory(parent, `d${i}`, { mode: 0o700 + (i % 8) })]);
        continue;
      }
      const bytes = randomBytes(random, Math.floor(random() * 30_000));
      if (i % 3 === 0) bytes.fill(0, 0, bytes.length / 2);
      await addFile(sink, parent, `f${i}`, bytes, { mode: 0o600 + (i % 64), uid: i, gid: 2 * i });
      expected.set(`${path}/f${i}`, bytes);
    }
  });
  await debugfs(disk, `rdump /top ${scratch.path}`);
  for (const [path, bytes] of expected) {
    assert.ok(Buffer.from(await Deno.readFile(`${scratch.path}/${path}`)).equals(bytes), path);
    const i = Number(/f(\d+)$/.exec(path)![1]);
    const { mode } = await Deno.lstat(`${scratch.path}/${path}`);
    assert.equal(mode! & 0o7777, 0o600 + (i % 64), path);
  }
});

Deno.test("debugfs finds every name of a large directory by its index", async () => {
  await using scratch = await scratchDirectory();
  const disk = `${scratch.path}/disk.ext4`;
  await writeDisk(disk, async (root, sink) => {
    const large = addDirectory(root, "large");
    for (let i = 0; i < 3000; i++) await addFile(sink, large, `entry-${i}`, "");
  });
  assert.match(await debugfs(disk, "htree_dump /large"), /Hash Version: 1\n\t Info length: 8/);
  const listed = await debugfs(disk, "ls -l /large");
  for (let i = 0; i < 3000; i += 17) assert.match(listed, new RegExp(` entry-${i}\\n`));
});

Deno.test("names hash as e2fsprogs hashes them", async () => {
  await using scratch = await scratchDirectory();
  const random = seededRandom(9);
  // Not beginning with a hyphen: debugfs would take that for an option.
  const names = Array.from(
    { length: 200 },
    () =>
      "n" +
      Array.from({ length: 1 + Math.floor(random() * 250) }, () => "aZ0-._é"[Math.floor(random() * 7)]).join(
        "",
      ),
  ).filter((name) => new TextEncoder().encode(name).length <= 255);
  const requests = names.map((name) =>
    `dx_hash -h half_md4 -s 01020304-0506-0708-090a-0b0c0d0e0f10 ${name}\n`
  );
  await Deno.writeTextFile(`${scratch.path}/requests`, requests.join(""));
  const shown = await run("debugfs", "-f", `${scratch.path}/requests`);
  const seed = Uint32Array.of(0x04030201, 0x08070605, 0x0c0b0a09, 0x100f0e0d);
  const theirs = [...shown.matchAll(/is 0x([0-9a-f]+) \(minor 0x([0-9a-f]+)\)/g)].map((match) => ({
    major: parseInt(match[1]!, 16),
    minor: parseInt(match[2]!, 16),
  }));
  assert.deepEqual(names.map((name) => hashName(byteStringOfText(name), seed)), theirs);
});
