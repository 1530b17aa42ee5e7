/** Layers to a disk: what umoci unpacks, what e2fsck accepts, and the same bytes each time. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { openFilesystem } from "../../../lib/ext4/reader.ts";
import { FilesystemWriter } from "../../../lib/ext4/writer.ts";
import { parsePlatform } from "../../../lib/oci/model/platform.ts";
import { realHost } from "../../../lib/sys/host.ts";
import { archive, directory, file, hardLink, symlink } from "../../unit/oci/archive.ts";
import { listDirectory, listTree } from "./listing.ts";
import { openImages, SILENT } from "./puller.ts";
import { makeImage, pushToRegistry, run, startRegistry, temporaryDirectory, umociUnpack } from "./tools.ts";

const MIB = 1024 * 1024;

async function convert(storeDirectory: string, source: string, path: string): Promise<void> {
  await using opened = await openImages(storeDirectory);
  const { signal } = new AbortController();
  await using disk = await realHost().files.open(path, { read: true, write: true, createNew: true });
  await using writer = await FilesystemWriter.create(disk, {
    uuid: new Uint8Array(16).fill(7),
    timestamp: { seconds: 1_700_000_000, nanoseconds: 0 },
  });
  const found = await opened.images.find(source, parsePlatform("amd64"), signal);
  const { root } = await found.fill(writer, SILENT, signal);
  await writer.finish(root);
}

Deno.test("a pulled image on a disk is clean, equals umoci's tree, and leaves no overwritten content", async () => {
  await using temporary = await temporaryDirectory();
  const { path } = temporary;
  await using registry = await startRegistry(path);
  const large = (byte: string, mib: number) => byte.repeat(mib * MIB);
  const layers = [
    archive(
      directory("./"),
      directory("usr"),
      directory("usr/bin"),
      symlink("bin", "usr/bin"),
      file("bin/overwritten", large("a", 40)),
      file("bin/hidden", large("b", 40)),
      file("bin/linked", large("c", 3)),
      hardLink("bin/survivor", "bin/linked"),
    ),
    archive(file("bin/overwritten", "small"), file("usr/bin/.wh.hidden"), file("bin/.wh.linked")),
    archive(directory("usr/bin", { mode: 0o711, mtime: 99 }), file("bin/last", large("d", 2))),
  ];
  const tars: string[] = [];
  for (const [index, layer] of layers.entries()) {
    tars.push(`${path}/layer-${index}.tar`);
    await Deno.writeFile(tars.at(-1)!, layer);
  }
  await makeImage(`${path}/layout`, "t", tars);
  const to = `${registry.host}/disk:t`;
  await pushToRegistry(`${path}/layout`, "t", to);
  await convert(`${path}/store-a`, to, `${path}/a.ext4`);
  await convert(`${path}/store-b`, to, `${path}/b.ext4`);

  await run("e2fsck", ["-fn", `${path}/a.ext4`]);
  await run("cmp", [`${path}/a.ext4`, `${path}/b.ext4`]);

  await using disk = await realHost().files.open(`${path}/a.ext4`, { read: true });
  const reader = await openFilesystem(disk);
  const root = await reader.readTree();
  const hashes = new Map<unknown, string>();
  for (const inode of filesOf(root)) {
    const digest = createHash("sha256");
    for await (const chunk of reader.readContent(inode.content)) digest.update(chunk);
    hashes.set(inode, digest.digest("hex"));
  }
  const listing = listTree(root, (inode) => hashes.get(inode)!);
  const expected = await listDirectory(await umociUnpack(`${path}/layout`, "t", `${path}/bundle`));
  delete listing["lost+found"];
  // umoci's own directories have the time of unpacking where a later layer put something into them.
  for (const tree of [listing, expected]) for (const name of ["", "usr"]) delete tree[name];
  assert.deepEqual(listing, expected);

  const dump = new TextDecoder().decode(await run("dumpe2fs", ["-h", `${path}/a.ext4`]));
  const blocks = (name: string) => Number(new RegExp(`${name}: +(\\d+)`).exec(dump)![1]);
  const usedMib = (blocks("Block count") - blocks("Free blocks") - blocks("Overhead clusters")) * 4096 / MIB;
  assert(usedMib < 20, `${usedMib} MiB are in use: what upper layers hid was not given back`);
});

type File = Parameters<Parameters<typeof listTree>[1]>[0];

function filesOf(root: Parameters<typeof listTree>[0]): File[] {
  const files: File[] = [];
  const pending = [root];
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    for (const inode of next.entries.values()) {
      if (inode.kind === "directory") pending.push(inode);
      else if (inode.kind === "file") files.push(inode);
    }
  }
  return files;
}
