/** The tree of an image equals what umoci unpacks. Needs root, as umoci does to keep owners and devices. */
import assert from "node:assert/strict";
import { archive, base256, file, gnuLong, member, pax } from "../../unit/oci/archive.ts";
import { CHANGES, makeLower } from "./everything.ts";
import { listDirectory } from "./listing.ts";
import { pullListing } from "./puller.ts";
import { makeImage, pushToRegistry, run, temporaryDirectory, umociUnpack } from "./tools.ts";
import { startRegistry } from "../../../scripts/bench/registry.ts";

for (const format of ["pax", "gnu"]) {
  Deno.test(`a tree with one of everything (${format}) equals umoci's, from a registry`, async () => {
    await using directory = await temporaryDirectory();
    await using registry = await startRegistry(directory.path);
    const layout = `${directory.path}/layout`;
    await makeImage(layout, "t", [await makeLower(directory.path, format)]);
    const to = `${registry.host}/one/of-everything:t`;
    await pushToRegistry(layout, "t", to);
    const { listing } = await pullListing(`${directory.path}/store`, to);
    const expected = await listDirectory(await umociUnpack(layout, "t", `${directory.path}/bundle`));
    assert(Object.keys(expected).length > 50, "umoci unpacked next to nothing");
    assert.deepEqual(listing, expected);
  });
}

Deno.test("layers with whiteouts equal umoci's, from a registry, in OCI's and Docker's format", async () => {
  await using directory = await temporaryDirectory();
  await using registry = await startRegistry(directory.path);
  const layout = `${directory.path}/layout`;
  await makeImage(layout, "t", [await makeLower(directory.path, "pax")]);
  for (const [index, change] of CHANGES.entries()) {
    const bundle = `${directory.path}/change-${index}`;
    await run("sh", ["-c", change], { cwd: await umociUnpack(layout, "t", bundle) });
    await run("umoci", ["repack", "--image", `${layout}:t`, bundle]);
  }
  const expected = await listDirectory(await umociUnpack(layout, "t", `${directory.path}/bundle`));
  assert.equal(expected["usr/case"], undefined);

  const oci = `${registry.host}/layers:oci`;
  await pushToRegistry(layout, "t", oci);
  const { listing, digest } = await pullListing(`${directory.path}/store`, oci);
  assert.deepEqual(listing, expected);

  const docker = `${registry.host}/layers:docker`;
  await pushToRegistry(layout, "t", docker, ["--format=v2s2"]);
  const pulled = await pullListing(`${directory.path}/store2`, docker);
  assert.deepEqual(pulled.listing, expected);
  assert.notEqual(pulled.digest, digest, "it was not converted to Docker's format");
});

Deno.test("every source gives the same tree", async () => {
  await using directory = await temporaryDirectory();
  const { path } = directory;
  const lower = await makeLower(path, "pax");
  const upper = `${path}/upper.tar`;
  await Deno.writeFile(
    upper,
    archive(file("etc/.wh.passwd"), file("etc/new", "new"), file("usr/.wh..wh..opq")),
  );
  await makeImage(`${path}/layout`, "t", [lower, upper]);
  const copy = (...args: string[]) => run("skopeo", ["copy", "-q", `oci:${path}/layout:t`, ...args]);
  await copy(`oci-archive:${path}/oci.tar:t`);
  await copy(`docker-archive:${path}/docker.tar:example.org/a/b:t`);
  await run("gzip", ["-k", `${path}/docker.tar`]);
  await copy("--dest-compress-format=zstd", "--dest-compress", `dir:${path}/zstd`);

  const expected = await listDirectory(await umociUnpack(`${path}/layout`, "t", `${path}/bundle`));
  for (
    const source of [
      `oci:${path}/layout`,
      `oci:${path}/layout:t`,
      `oci-archive:${path}/oci.tar`,
      `oci-archive:${path}/oci.tar:t`,
      `docker-archive:${path}/docker.tar`,
      `docker-archive:${path}/docker.tar:example.org/a/b:t`,
      `docker-archive:${path}/docker.tar.gz`,
    ]
  ) {
    assert.deepEqual((await pullListing(`${path}/store`, source)).listing, expected, source);
  }
});

const BEYOND_UMOCI = `touch -d '2300-01-02T03:04:05.123456789Z' usr/after-2038\n`;

for (
  const options of [["--sparse"], ["--sparse", "--sparse-version=0.0"], ["--sparse", "--sparse-version=0.1"]]
) {
  Deno.test(`a plain archive of a root file system gives its tree, compressed or not (${options.at(-1)})`, async () => {
    await using directory = await temporaryDirectory();
    const { path } = directory;
    const tar = await makeLower(path, "pax", { script: BEYOND_UMOCI, options });
    const expected = await listDirectory(`${path}/lower-pax`);
    await run("gzip", ["-k", tar]);
    await run("zstd", ["-q", "-k", tar]);
    for (const source of [tar, `${tar}.gz`, `${tar}.zst`]) {
      const { listing } = await pullListing(`${path}/store`, `tar:${source}`);
      assert.deepEqual(listing, expected);
    }
  });
}

Deno.test("P5 GNU's old sparse format gives the file that GNU tar read", async () => {
  await using directory = await temporaryDirectory();
  const { path } = directory;
  const script =
    `for i in 1 9 30 50 70 90 110; do printf "at $i" | dd of=usr/sparse bs=1M seek=$i 2>&1; done`;
  const tar = await makeLower(path, "gnu", { script, options: ["--sparse"] });
  const { listing } = await pullListing(`${path}/store`, `tar:${tar}`);
  const expected = await listDirectory(`${path}/lower-gnu`);
  assert.equal(listing["usr/sparse"]!.split(" ").at(-1), expected["usr/sparse"]!.split(" ").at(-1));
  assert((await Deno.stat(tar)).size < 20_000_000, "GNU tar stored the holes");
});

Deno.test("headers that GNU tar does not write equal umoci's", async () => {
  await using directory = await temporaryDirectory();
  const { path } = directory;
  const layer = `${path}/layer.tar`;
  await Deno.writeFile(
    layer,
    archive(
      member({ name: "implicit/parent/f", body: "f" }),
      member({ name: "v7/", format: "v7", type: "\0", mode: 0o711 }),
      member({ name: "prefixed", patch: [{ at: 345, bytes: new TextEncoder().encode("a/prefix") }] }),
      pax({ mtime: "-1.5", uid: "3000000000", size: "3" }),
      member({ name: "pax", body: "abc", size: 0 }),
      pax({ mtime: "7", comment: "x" }),
      gnuLong("L", `long/${"n".repeat(200)}`),
      member({ name: "short", body: "x" }),
      member({ name: "base256", patch: [{ at: 136, bytes: base256(-5n, 12) }] }),
      member({ name: "/absolute", body: "1" }),
      member({ name: "up/../../../escaped", body: "2" }),
      member({ name: "twice", body: "first" }),
      member({ name: "twice", body: "second", mode: 0o600 }),
      member({ name: "link", type: "1", link: "/absolute", mode: 0o755 }),
      member({ name: "symlink", type: "2", link: "../../absolute" }),
      member({ name: "./", type: "5", mode: 0o750, uid: 3 }),
    ),
  );
  await makeImage(`${path}/layout`, "t", [layer]);
  const { listing } = await pullListing(`${path}/store`, `oci:${path}/layout`);
  const expected = await listDirectory(await umociUnpack(`${path}/layout`, "t", `${path}/bundle`));
  // Parents without an entry get the time of unpacking from umoci, and 1970 from us.
  for (const name of ["implicit", "implicit/parent", "a", "a/prefix", "long"]) {
    assert.match(listing[name]!, /^d 755 0:0 0\.000000000/);
    delete listing[name];
    delete expected[name];
  }
  assert.deepEqual(listing, expected);
});
