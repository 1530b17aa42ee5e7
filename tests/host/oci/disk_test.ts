/** Layers to a disk: what umoci unpacks, what e2fsck accepts, and the same bytes each time. */
import assert from "node:assert/strict";
import { archive, directory, file, hardLink, symlink } from "../../unit/oci/archive.ts";
import { listDisk } from "./disk_listing.ts";
import { listDirectory } from "./listing.ts";
import { pullToDisk } from "./puller.ts";
import { makeImage, pushToRegistry, run, temporaryDirectory, umociUnpack } from "./tools.ts";
import { startRegistry } from "../../../scripts/bench/registry.ts";

const MIB = 1024 * 1024;

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
      file("bin/overwritten", large("a", 16)),
      file("bin/hidden", large("b", 16)),
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
  // Small, since cmp reads all of it.
  const size = { sizeBytes: 64 * MIB };
  await pullToDisk(`${path}/store-a`, to, `${path}/a.ext4`, size);
  await pullToDisk(`${path}/store-b`, to, `${path}/b.ext4`, size);

  await run("cmp", [`${path}/a.ext4`, `${path}/b.ext4`]);

  const listing = await listDisk(`${path}/a.ext4`);
  const expected = await listDirectory(await umociUnpack(`${path}/layout`, "t", `${path}/bundle`));
  // umoci's own directories have the time of unpacking where a later layer put something into them.
  for (const tree of [listing, expected]) for (const name of ["", "usr"]) delete tree[name];
  assert.deepEqual(listing, expected);

  const dump = new TextDecoder().decode(await run("dumpe2fs", ["-h", `${path}/a.ext4`]));
  const blocks = (name: string) => Number(new RegExp(`${name}: +(\\d+)`).exec(dump)![1]);
  const usedMib = (blocks("Block count") - blocks("Free blocks") - blocks("Overhead clusters")) * 4096 / MIB;
  assert(usedMib < 10, `${usedMib} MiB are in use: what upper layers hid was not given back`);
});
