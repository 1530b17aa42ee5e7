import assert from "node:assert/strict";
import { gzipSync } from "node:zlib";
import { type Digest, digestOf } from "../../../lib/oci/model/digest.ts";
import { ContentStore } from "../../../lib/oci/store/content_store.ts";
import { realHost } from "../../../lib/sys/host.ts";
import { libc } from "../../../lib/sys/libc.ts";
import { archive, bytes, file, hardLink, symlink } from "./archive.ts";
import { rejectsWith } from "./replayed.ts";
import { descriptorOf, imageOf, scriptedWorld, serveImage, TYPES } from "./scripted.ts";

// Opened once and for good by whoever locks a file first: here, so that no test seems to leak it.
libc();

const LAYER = archive(file("f", "content"));
const IMAGE = imageOf([LAYER]);

async function temporaryDirectory() {
  const path = await Deno.makeTempDir({ prefix: "banger-oci-" });
  return { path, [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }) };
}

async function blobsIn(directory: string): Promise<string[]> {
  const names = [];
  for await (const entry of Deno.readDir(`${directory}/blobs/sha256`)) names.push(`sha256:${entry.name}`);
  return names.sort();
}

Deno.test("the store is a layout that can be read as one", async () => {
  await using world = await scriptedWorld();
  const { digest } = serveImage(world.http, IMAGE);
  await world.pull();
  assert.deepEqual(await world.pull(`oci:${world.directory}/store`), { f: "content" });
  const index = JSON.parse(await Deno.readTextFile(`${world.directory}/store/index.json`));
  assert.deepEqual(index.manifests.map((entry: { digest: string }) => entry.digest), [digest]);
  await world.pull();
  assert.equal(
    JSON.parse(await Deno.readTextFile(`${world.directory}/store/index.json`)).manifests.length,
    1,
  );
});

Deno.test("prune keeps what kept images need and what is in use, and says what it freed", async () => {
  await using world = await scriptedWorld();
  const kept = serveImage(world.http, IMAGE);
  const other = imageOf([LAYER, archive(file("g", "x".repeat(9000)))]);
  serveImage(world.http, other, { tag: "other" });
  await world.pull();
  await world.pull("registry.test/a/b:other");
  const before = await blobsIn(`${world.directory}/store`);
  assert.equal(before.length, 6);
  const pinned = digestOf(other.layers[1]!);
  {
    using _pin = world.store.pin([pinned]);
    await world.store.prune([kept.digest]);
    assert((await blobsIn(`${world.directory}/store`)).includes(pinned));
  }
  const pruned = await world.store.prune([kept.digest]);
  assert.equal(pruned.blobs, 1);
  assert(pruned.sizeBytes >= 9000);
  const expected = [kept.digest, IMAGE.manifest.config.digest, digestOf(LAYER)].sort();
  assert.deepEqual(await blobsIn(`${world.directory}/store`), expected);
  assert.deepEqual(await world.pull(), { f: "content" });
  assert.deepEqual((await world.store.prune([])).blobs, 3);
  assert.deepEqual(JSON.parse(await Deno.readTextFile(`${world.directory}/store/index.json`)).manifests, []);
});

Deno.test("what a crash left in the store is removed when it is opened, what is in use is not", async () => {
  await using directory = await temporaryDirectory();
  const host = realHost();
  await Deno.mkdir(`${directory.path}/ingest/crashed`, { recursive: true });
  await Deno.writeTextFile(`${directory.path}/ingest/crashed/partial`, "half");
  await Deno.writeTextFile(`${directory.path}/ingest/crashed.lock`, "");
  await using _first = await ContentStore.open(host, directory.path);
  await using _second = await ContentStore.open(host, directory.path);
  const names = [...Deno.readDirSync(`${directory.path}/ingest`)].map(({ name }) => name);
  assert.equal(names.filter((name) => name.endsWith(".lock")).length, 2);
  assert(!names.some((name) => name.startsWith("crashed")), names.join());
});

Deno.test("verify removes blobs of a wrong size or content, and believes only what it read", async () => {
  await using directory = await temporaryDirectory();
  await using store = await ContentStore.open(realHost(), directory.path);
  const good = { mediaType: "", digest: digestOf(LAYER), sizeBytes: LAYER.length };
  assert.equal(await store.verify(good), false);
  await store.putBytes(LAYER);
  assert.equal(await store.verify(good), true);
  assert.equal(await store.verify({ ...good, sizeBytes: 5 }), false);
  assert.equal(await store.findBytes(good.digest), undefined, "it was not removed");
  await Deno.writeFile(store.blobPath(good.digest), LAYER.slice().fill(1, 0, 3));
  assert.equal(await store.findBytes(good.digest), undefined);
});

Deno.test("a blob under a wrong name is not taken in", async () => {
  await using directory = await temporaryDirectory();
  await using store = await ContentStore.open(realHost(), directory.path);
  const content = async function* () {
    yield await Promise.resolve(LAYER);
  };
  await rejectsWith(store.putStream(content(), digestOf(bytes("x"))), "corrupt_data", /another digest/);
  assert.deepEqual(await blobsIn(directory.path), []);
  assert.equal((await store.putStream(content())).digest, digestOf(LAYER));
  const sha512 = digestOf(LAYER, "sha512");
  assert.equal((await store.putStream(content(), sha512)).digest, sha512);
});

Deno.test("SHA-512 digests work from manifest to layer", async () => {
  await using world = await scriptedWorld();
  const layer = { mediaType: TYPES.layer, digest: digestOf(LAYER, "sha512"), size: LAYER.length };
  const image = imageOf([LAYER], { diffIds: [digestOf(LAYER, "sha512")] });
  serveImage(world.http, { ...image, manifest: { ...image.manifest, layers: [layer] } });
  world.http.on(`https://registry.test/v2/a/b/blobs/${layer.digest}`, { body: LAYER });
  assert.deepEqual(await world.pull(), { f: "content" });
});

/** A layout on disk. */
async function writeLayout(directory: string, tags: readonly (string | undefined)[]): Promise<Digest> {
  const manifest = JSON.stringify(IMAGE.manifest);
  await Deno.mkdir(`${directory}/blobs/sha256`, { recursive: true });
  for (const content of [manifest, IMAGE.config, LAYER]) {
    await Deno.writeFile(`${directory}/blobs/sha256/${digestOf(bytes(content)).slice(7)}`, bytes(content));
  }
  const manifests = tags.map((tag) => ({
    ...descriptorOf(TYPES.manifest, manifest),
    ...(tag === undefined ? {} : { annotations: { "org.opencontainers.image.ref.name": tag } }),
  }));
  await Deno.writeTextFile(`${directory}/index.json`, JSON.stringify({ schemaVersion: 2, manifests }));
  await Deno.writeTextFile(`${directory}/oci-layout`, `{"imageLayoutVersion":"1.0.0"}`);
  return digestOf(bytes(manifest));
}

Deno.test("a layout's image is chosen by tag or digest", async () => {
  await using world = await scriptedWorld();
  const path = `${world.directory}/layout`;
  const digest = await writeLayout(path, ["a", "b"]);
  for (const choice of ["", ":a", ":b", `:${digest}`]) {
    assert.deepEqual(await world.pull(`oci:${path}${choice}`), { f: "content" }, choice);
  }
  await rejectsWith(world.pull(`oci:${path}:c`), "not_found", /Cannot find "c"/);
  await rejectsWith(world.pull(`oci:${world.directory}`), "not_found", /no OCI image-layout/);
  await rejectsWith(world.pull("oci:relative"), "invalid_argument", /no absolute path/);
  assert.equal((await blobsIn(`${world.directory}/store`)).length, 0, "a layout is read in place");
});

Deno.test("R1 a layout with a damaged blob is refused, whichever it is", async () => {
  for (const content of [JSON.stringify(IMAGE.manifest), IMAGE.config, LAYER]) {
    await using world = await scriptedWorld();
    const path = `${world.directory}/layout`;
    await writeLayout(path, ["a"]);
    const damaged = bytes(content).slice();
    // Inside the content of the layer's file, where no format notices.
    damaged[content === LAYER ? 515 : damaged.length - 3]! ^= 1;
    await Deno.writeFile(`${path}/blobs/sha256/${digestOf(bytes(content)).slice(7)}`, damaged);
    await rejectsWith(world.pull(`oci:${path}`), "corrupt_data", /another digest/);
  }
});

Deno.test("docker-archive: layers by links, several images, gzip, and what is missing", async () => {
  await using world = await scriptedWorld();
  const path = `${world.directory}/docker.tar`;
  const upper = archive(file("g", "upper"));
  const config = (layers: Uint8Array[]) => imageOf(layers).config;
  const list = [
    { Config: "one.json", RepoTags: ["x/one:latest"], Layers: ["aa/layer.tar"] },
    { Config: "two.json", RepoTags: ["x/two:v1"], Layers: ["bb/layer.tar", "./cc/layer.tar"] },
    { Config: "bad.json", RepoTags: ["x/bad:v1"], Layers: ["nowhere/layer.tar"] },
  ];
  const content = archive(
    file("aa/VERSION", "1.0"),
    file("aa/layer.tar", "", { body: LAYER }),
    symlink("bb/layer.tar", "../aa/layer.tar"),
    hardLink("dd/layer.tar", "aa/layer.tar"),
    file("cc/layer.tar", "", { body: upper }),
    file("one.json", config([LAYER])),
    file("two.json", config([LAYER, upper])),
    file("bad.json", config([LAYER])),
    file("manifest.json", JSON.stringify(list)),
    file("repositories", "{}"),
  );
  await Deno.writeFile(path, new Uint8Array(gzipSync(content)));
  const from = `docker-archive:${path}`;
  assert.deepEqual(await world.pull(`${from}:x/one`), { f: "content" });
  assert.deepEqual(await world.pull(`${from}:x/two:v1`), { f: "content", g: "upper" });
  await rejectsWith(world.pull(from), "invalid_argument", /there are 3/);
  await rejectsWith(world.pull(`${from}:x/none`), "not_found", /Cannot find "x\/none"/);
  await rejectsWith(world.pull(`${from}:x/bad:v1`), "corrupt_data", /"nowhere\/layer.tar" is missing/);
  await Deno.writeFile(path, archive(file("some", "file")));
  await rejectsWith(world.pull(from), "corrupt_data", /no manifest.json/);
  await rejectsWith(world.pull(`oci-archive:${path}`), "corrupt_data", /no index.json/);
});

Deno.test("oci-archive: a blob whose name is not its digest is refused, one that is missing too", async () => {
  await using world = await scriptedWorld();
  const path = `${world.directory}/oci.tar`;
  const manifest = JSON.stringify(IMAGE.manifest);
  const index = JSON.stringify({ schemaVersion: 2, manifests: [descriptorOf(TYPES.manifest, manifest)] });
  const blob = (content: string | Uint8Array, name = digestOf(bytes(content))) =>
    file(`./blobs/sha256/${name.slice(7)}`, "", { body: content });
  const head = [file("oci-layout", `{"imageLayoutVersion":"1.0.0"}`), file("index.json", index)];
  await Deno.writeFile(path, archive(...head, blob(manifest), blob(IMAGE.config), blob(LAYER)));
  assert.deepEqual(await world.pull(`oci-archive:${path}`), { f: "content" });
  await Deno.writeFile(path, archive(...head, blob("evil", digestOf(LAYER))));
  await rejectsWith(world.pull(`oci-archive:${path}`), "corrupt_data", /another digest/);
  await world.store.prune([]);
  await Deno.writeFile(path, archive(...head, blob(manifest)));
  await rejectsWith(world.pull(`oci-archive:${path}`), "not_found", /./);
});

Deno.test("tar: a missing file is said so, a directory too", async () => {
  await using world = await scriptedWorld();
  await rejectsWith(world.pull(`tar:${world.directory}/none.tar`), "not_found", /does not exist/);
  await Deno.writeFile(`${world.directory}/xz.tar`, Uint8Array.of(0xfd, 0x37, 0x7a, 0x58, 0x5a, 0, 1, 2));
  await rejectsWith(world.pull(`tar:${world.directory}/xz.tar`), "invalid_argument", /compressed with xz/);
});
