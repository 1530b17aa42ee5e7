/** Hostile archives, by the compiled executables: what is accepted stays on its disk, what is refused leaves nothing. */
import assert from "node:assert/strict";
import { gzipSync } from "node:zlib";
import { concatBytes } from "../../lib/base/bytes.ts";
import { listDisk } from "../host/oci/disk_listing.ts";
import { listDirectory, type Listing } from "../host/oci/listing.ts";
import { makeImage, temporaryDirectory } from "../host/oci/tools.ts";
import {
  archive,
  base256,
  bytes,
  directory,
  file,
  gnuLong,
  hardLink,
  member,
  pax,
  symlink,
} from "../unit/oci/archive.ts";
import { HOME, ok, refused, STATE } from "./fixture.ts";
import { removingImage } from "./pulled_images.ts";

const DATA = 6;
const ROOM = 8;

/** A gzip stream of a file of zeros: a thousand to one, in members so that making it is quick. */
function bomb(sizeBytes: number): Uint8Array {
  const piece = 2 ** 24;
  const zeros = new Uint8Array(gzipSync(new Uint8Array(piece)));
  const header = member({ name: "bomb", patch: [{ at: 124, bytes: base256(BigInt(sizeBytes), 12) }] });
  return concatBytes([
    new Uint8Array(gzipSync(header)),
    ...Array.from({ length: sizeBytes / piece }, () => zeros),
  ]);
}

const manyLinks = Array.from({ length: 41 }, (_, i) => symlink(`l${i + 1}`, i === 0 ? "d" : `l${i}`));

const REFUSED: readonly (readonly [row: string, content: () => Uint8Array, code: number, pattern: RegExp])[] =
  [
    ["A4 a symlink for the root", () => archive(symlink(".", "/etc")), DATA, /root/],
    ["A7 a hard link to nothing", () => archive(hardLink("h", "/etc/passwd")), DATA, /is missing/],
    [
      "A9 a loop of symlinks",
      () => archive(symlink("a", "b"), symlink("b", "a"), file("a/x")),
      DATA,
      /40 symbolic/,
    ],
    ["A9 41 symlinks", () => archive(directory("d"), ...manyLinks, file("l41/x")), DATA, /40 symbolic/],
    [
      "D1 a device's number",
      () => archive(member({ name: "d", type: "3", major: 4096 })),
      DATA,
      /device's number/,
    ],
    [
      "D2 a huge attribute",
      () => archive(pax({ "SCHILY.xattr.user.v": "v".repeat(65_537) }), file("f")),
      DATA,
      /64 KiB/,
    ],
    [
      "D2 an attribute no ext4 holds",
      () => archive(pax({ "SCHILY.xattr.user.v": "v".repeat(60_000) }), file("f")),
      DATA,
      /attribute/,
    ],
    ["D3 a time no ext4 holds", () => archive(pax({ mtime: "99999999999" }), file("f")), DATA, /time/],
    [
      "P3 a malformed pax header",
      () => archive(member({ name: "x", type: "x", body: "99 path=x\n" })),
      DATA,
      /length/,
    ],
    [
      "P4 a long name of 4 GiB",
      () => archive(member({ name: "x", type: "L", size: 2 ** 32 })),
      DATA,
      /1 MiB/,
    ],
    [
      "P5 a sparse map that lies",
      () =>
        archive(
          pax({
            "GNU.sparse.major": "1",
            "GNU.sparse.minor": "0",
            "GNU.sparse.name": "f",
            "GNU.sparse.realsize": "10",
          }),
          file("x", "99999999\n"),
        ),
      DATA,
      /sparse/i,
    ],
    [
      "P6 a negative size",
      () => archive(member({ name: "f", patch: [{ at: 124, bytes: base256(-1n, 12) }] })),
      DATA,
      /negative/,
    ],
    ["P6 a wrong checksum", () => archive(file("f", "", { checksum: 1 })), DATA, /checksum/],
    ["P9 a name of 256 bytes", () => archive(gnuLong("L", "n".repeat(256)), file("f")), DATA, /255 bytes/],
    ["P10 a cut archive", () => file("f", "x".repeat(9000)).subarray(0, 5000), DATA, /ends inside/],
    ["Z1 a cut gzip", () => new Uint8Array(gzipSync(archive(file("f", "x")))).subarray(0, 60), DATA, /gzip/],
    [
      "Z3 junk after gzip",
      () => concatBytes([new Uint8Array(gzipSync(archive(file("f")))), bytes("junk")]),
      DATA,
      /gzip/,
    ],
    ["Z4 a gzip bomb", () => bomb(3 * 2 ** 30), ROOM, /500 times/],
  ];

/** Everything below banger's own directories but databases and logs, and what banger has no business with. */
async function watched(outside: string): Promise<Listing[]> {
  const banger = [`${HOME}/.local/state/banger`, `${HOME}/.cache/banger`];
  const prune = ["(", "-path", banger[0]!, "-o", "-path", banger[1]!, ")", "-prune", "-o"];
  return [await listDirectory(outside), await listDirectory(HOME, undefined, prune)];
}

/** Names of images and of what is being made. */
function made(): string[] {
  const names = (path: string) => [...Deno.readDirSync(path)].map(({ name }) => name).sort();
  const ingest = `${HOME}/.cache/banger/oci/ingest`;
  return [
    ...names(`${STATE}/images`),
    ...names(ingest).flatMap((name) => name.endsWith(".lock") ? [] : names(`${ingest}/${name}`)),
  ];
}

Deno.test("hostile archives are refused within 10 s, and leave nothing", async (t) => {
  await using temporary = await temporaryDirectory();
  await ok(["image", "list"]);
  const [before, madeBefore] = [await watched(temporary.path), made()];
  for (const [row, content, code, pattern] of REFUSED) {
    await t.step(row, async () => {
      await using place = await temporaryDirectory();
      await Deno.writeFile(`${place.path}/hostile.tar`, content());
      const startedAtMs = performance.now();
      await refused(["image", "pull", "--quiet", `tar:${place.path}/hostile.tar`], code, pattern);
      const seconds = (performance.now() - startedAtMs) / 1000;
      // The limit is for a quiet host: others may be at work here.
      assert.ok(seconds < 30, `${seconds} s`);
      assert.deepEqual(made(), madeBefore);
    });
  }
  assert.deepEqual(await watched(temporary.path), before);
});

Deno.test("A1 A2 A3 A5 A6 D1 paths that lead outside stay on the disk", async () => {
  await using temporary = await temporaryDirectory();
  const out = `${temporary.path}/outside`;
  await Deno.mkdir(out);
  for (const name of ["secret", "device", "replaced"]) {
    await Deno.writeTextFile(`${out}/${name}`, "the host's");
  }
  const up = "../".repeat(8);
  const lower = archive(
    directory("./"),
    file(`${up}${out.slice(1)}/up`, "inside"),
    file(`${out}/absolute`, "inside"),
    file(`a/${up}${out.slice(1)}/up-later`, "inside"),
    file(`${out}/replaced`, "inside"),
    symlink("link", out),
    symlink("relative", `${up}${out.slice(1)}`),
    file("link/secret", "inside", { mode: 0o777 }),
    file("relative/written", "inside"),
    directory("link/below", { mode: 0o777, uid: 7 }),
    hardLink("hard", "link/secret"),
    hardLink("hard-to-link", "relative"),
    member({ name: "link/device", type: "3", major: 1, minor: 3 }),
    symlink("becomes-directory", out),
    directory("becomes-directory/", { mode: 0o700 }),
  );
  const upper = archive(file("link/.wh.replaced"), file("link/below/.wh..wh..opq"));
  await Deno.writeFile(`${temporary.path}/lower.tar`, lower);
  await Deno.writeFile(`${temporary.path}/upper.tar`, upper);
  const layout = `${temporary.path}/layout`;
  await makeImage(layout, "t", [`${temporary.path}/lower.tar`, `${temporary.path}/upper.tar`]);
  await using _image = removingImage("hostile");
  await ok(["image", "list"]);
  const before = await watched(out);
  await ok(["image", "pull", "--quiet", "--name", "hostile", `oci:${layout}:t`]);
  assert.deepEqual(await watched(out), before);
  const { id } = JSON.parse(await ok(["image", "show", "hostile", "--json"])) as { id: string };
  const listing = await listDisk(`${STATE}/images/${id}/rootfs.ext4`);
  const inside = Object.keys(listing).filter((path) => `/${path}`.startsWith(`${out}/`));
  const names = ["absolute", "below", "device", "secret", "up", "up-later", "written"];
  assert.deepEqual(inside.map((path) => path.slice(out.length)).sort(), names);
  assert.match(listing[`${out.slice(1)}/below`]!, /^d 777 7:/);
  assert.match(listing["becomes-directory"]!, /^d 700 /);
  assert.match(listing["hard-to-link"]!, /^l /);
});
