import assert from "node:assert/strict";
import { gzipSync } from "node:zlib";
import { digestOf } from "../../../lib/oci/model/digest.ts";
import { libc } from "../../../lib/sys/libc.ts";
import { archive, file } from "./archive.ts";
import { rejectsWith } from "./replayed.ts";
import {
  descriptorOf,
  imageOf,
  REPOSITORY,
  scriptedWorld,
  serveBlob,
  serveImage,
  serveManifest,
  TYPES,
} from "./scripted.ts";

// Opened once and for good by whoever locks a file first: here, so that no test seems to leak it.
libc();

const LAYER = archive(file("f", "content"));
const IMAGE = imageOf([LAYER]);

Deno.test("an image is found and filled", async () => {
  await using world = await scriptedWorld();
  const upper = archive(file("g", "upper"), file(".wh.f"));
  const { digest } = serveImage(world.http, imageOf([LAYER, upper]));
  const found = await world.find();
  assert.equal(found.digest, digest);
  assert.equal(found.source, "registry.test/a/b:t");
  assert.equal(found.sizeBytes, LAYER.length + upper.length);
  assert.deepEqual(found.config?.environment, ["A=b"]);
  assert.deepEqual(await world.pull(), { g: "upper" });
  await world.assertClean();
});

Deno.test("a second pull takes blobs from the store; by digest it asks for nothing", async () => {
  await using world = await scriptedWorld();
  const { digest } = serveImage(world.http, IMAGE);
  await world.pull();
  world.http.requests.length = 0;
  assert.deepEqual(await world.pull(), { f: "content" });
  assert.deepEqual(world.http.requests.map(({ url }) => url), [`${REPOSITORY}/manifests/t`]);
  world.http.requests.length = 0;
  assert.deepEqual(await world.pull(`registry.test/a/b@${digest}`), { f: "content" });
  assert(world.http.requests.every(({ url }) => url.endsWith(digest)), "only the manifest may be asked for");
});

Deno.test("a damaged blob in the store is found and fetched again", async () => {
  await using world = await scriptedWorld();
  serveImage(world.http, IMAGE);
  await world.pull();
  const path = `${world.directory}/store/blobs/sha256/${digestOf(LAYER).slice(7)}`;
  const damaged = LAYER.slice();
  damaged[600]! ^= 1;
  await Deno.writeFile(path, damaged);
  // Another process would not know that this one has checked it before.
  await using later = await scriptedWorld();
  serveImage(later.http, IMAGE);
  await Deno.mkdir(`${later.directory}/store/blobs/sha256`, { recursive: true });
  await Deno.writeFile(`${later.directory}/store/blobs/sha256/${digestOf(LAYER).slice(7)}`, damaged);
  assert.deepEqual(await later.pull(), { f: "content" });
  const again = await Deno.readFile(`${later.directory}/store/blobs/sha256/${digestOf(LAYER).slice(7)}`);
  assert.deepEqual(new Uint8Array(again), LAYER);
});

Deno.test("a blob that was damaged after it was checked is found, at once or by the pull after the one that fails", async () => {
  await using world = await scriptedWorld();
  serveImage(world.http, IMAGE);
  await world.pull();
  const path = `${world.directory}/store/blobs/sha256/${digestOf(LAYER).slice(7)}`;
  const damaged = LAYER.slice();
  damaged[600]! ^= 1;
  const { mtime } = await Deno.stat(path);
  await Deno.writeFile(path, damaged);
  await Deno.utime(path, new Date(), new Date(0));
  assert.deepEqual(await world.pull(), { f: "content" });
  // A disk that rots does not tell.
  await Deno.utime(path, new Date(), mtime!);
  await world.pull();
  await Deno.writeFile(path, damaged);
  await Deno.utime(path, new Date(), mtime!);
  await rejectsWith(world.pull(), "corrupt_data", /not what the image's configuration says/);
  assert.deepEqual(await world.pull(), { f: "content" });
  await world.assertClean();
});

Deno.test("R1 a layer of another digest is refused", async () => {
  await using world = await scriptedWorld();
  serveImage(world.http, IMAGE);
  const wrong = archive(file("f", "contenT"));
  world.http.on(`${REPOSITORY}/blobs/${digestOf(LAYER)}`, { body: wrong });
  await rejectsWith(world.pull(), "corrupt_data", /what was downloaded has another digest/);
  await world.assertClean();
  assert.equal(
    await world.store.verify({ mediaType: "", digest: digestOf(LAYER), sizeBytes: LAYER.length }),
    false,
  );
});

for (
  const [why, size, text] of [
    ["shorter", LAYER.length - 1, /there is more of it than/],
    ["longer", LAYER.length + 1, /ended after/],
  ] as const
) {
  Deno.test(`R1 a layer whose manifest says that it is ${why} is refused`, async () => {
    await using world = await scriptedWorld();
    const layers = [{ ...descriptorOf(TYPES.layer, LAYER), size }];
    serveImage(world.http, { ...IMAGE, manifest: { ...IMAGE.manifest, layers } });
    await rejectsWith(world.pull(), size > LAYER.length ? "source_unavailable" : "corrupt_data", text);
    await world.assertClean();
  });
}

Deno.test("R1 a Content-Length that is not the layer's size is refused before it is read", async () => {
  await using world = await scriptedWorld();
  serveImage(world.http, IMAGE);
  world.http.on(`${REPOSITORY}/blobs/${digestOf(LAYER)}`, {
    body: LAYER,
    headers: { "content-length": "5" },
  });
  await rejectsWith(world.pull(), "corrupt_data", /has "5" bytes, not 2048/);
  await world.assertClean();
});

for (const size of [-1, 1.5, "12", null, 2 ** 60]) {
  Deno.test(`R1 a size of ${size} in a manifest is refused`, async () => {
    await using world = await scriptedWorld();
    const layers = [{ ...descriptorOf(TYPES.layer, LAYER), size }];
    serveManifest(world.http, { ...IMAGE.manifest, layers });
    await rejectsWith(world.find(), "corrupt_data", /size is no whole number/);
  });
}

Deno.test("R1, Verify: a manifest that is not what was asked for, or not what the registry says, is refused", async () => {
  await using world = await scriptedWorld();
  const wanted = digestOf(LAYER);
  const body = JSON.stringify(IMAGE.manifest);
  world.http.on(`${REPOSITORY}/manifests/${wanted}`, { body });
  await rejectsWith(world.find(`registry.test/a/b@${wanted}`), "corrupt_data", /its digest is not sha256/);
  world.http.on(`${REPOSITORY}/manifests/t`, { body, headers: { "docker-content-digest": wanted } });
  await rejectsWith(world.find(), "corrupt_data", /its digest is not sha256/);
  world.http.on(`${REPOSITORY}/manifests/t`, {
    body,
    headers: { "docker-content-digest": "sha256:../../x" },
  });
  await rejectsWith(world.find(), "corrupt_data", /as a digest/);
  await world.assertClean();
});

Deno.test("R1 a configuration of another digest or size is refused", async () => {
  await using world = await scriptedWorld();
  serveImage(world.http, IMAGE);
  world.http.on(`${REPOSITORY}/blobs/${digestOf(new TextEncoder().encode(IMAGE.config))}`, {
    body: IMAGE.config.replace("amd64", "arm64"),
  });
  await rejectsWith(world.find(), "corrupt_data", /configuration has another digest/);
  world.http.on(`${REPOSITORY}/blobs/${digestOf(new TextEncoder().encode(IMAGE.config))}`, {
    body: `${IMAGE.config} `,
  });
  await rejectsWith(world.find(), "corrupt_data", /it is larger than/);
  await world.assertClean();
});

Deno.test("R2 a wrong diff ID is refused", async () => {
  await using world = await scriptedWorld();
  serveImage(world.http, imageOf([LAYER], { diffIds: [digestOf(new Uint8Array(1))] }));
  await rejectsWith(world.pull(), "corrupt_data", /not what the image's configuration says/);
  await world.assertClean();
});

Deno.test("R2 another number of layers than the configuration has is refused", async () => {
  await using world = await scriptedWorld();
  serveImage(world.http, imageOf([LAYER], { diffIds: [] }));
  await rejectsWith(world.find(), "corrupt_data", /has 1 layers and its configuration 0/);
});

Deno.test("Z6 a layer whose media type lies about compression is read by its bytes", async () => {
  await using world = await scriptedWorld();
  const zipped = new Uint8Array(gzipSync(LAYER));
  const image = imageOf([LAYER]);
  const lies = { ...image.manifest, layers: [descriptorOf(TYPES.layer, zipped)] };
  serveImage(world.http, { ...image, manifest: lies, layers: [zipped] });
  assert.deepEqual(await world.pull(), { f: "content" });
  const other = { ...image.manifest, layers: [descriptorOf(TYPES.gzipLayer, LAYER)] };
  serveImage(world.http, { ...image, manifest: other }, { tag: "other" });
  assert.deepEqual(await world.pull("registry.test/a/b:other"), { f: "content" });
});

for (
  const digest of [
    "sha256:../../../../etc/passwd",
    `sha256:${"A".repeat(64)}`,
    `sha256:${"a".repeat(63)}`,
    `md5:${"a".repeat(32)}`,
    `sha256:${"a".repeat(64)}/x`,
    `sha256:${"a".repeat(64)}\n`,
    "",
  ]
) {
  Deno.test(`R3 the digest ${JSON.stringify(digest)} is refused`, async () => {
    await using world = await scriptedWorld();
    const layers = [{ ...descriptorOf(TYPES.layer, LAYER), digest }];
    serveManifest(world.http, { ...IMAGE.manifest, layers });
    await rejectsWith(world.find(), "corrupt_data", /as a digest/);
    await rejectsWith(world.find(`registry.test/a/b@${digest}`), "invalid_argument", /reference/);
  });
}

Deno.test("R4 what could be an index and a manifest is refused", async () => {
  await using world = await scriptedWorld();
  serveManifest(world.http, { ...IMAGE.manifest, manifests: [] });
  await rejectsWith(world.find(), "corrupt_data", /as an index and as a manifest/);
});

Deno.test("R4 a Content-Type that is not the document's type is refused", async () => {
  await using world = await scriptedWorld();
  serveManifest(world.http, IMAGE.manifest, { mediaType: TYPES.index });
  await rejectsWith(world.find(), "corrupt_data", /not the one it was given as/);
  const { mediaType: _, ...bare } = IMAGE.manifest;
  serveManifest(world.http, bare, { mediaType: TYPES.index });
  await rejectsWith(world.find(), "corrupt_data", /does not fit its media type/);
  serveManifest(world.http, "<html>", { mediaType: "text/html" });
  await rejectsWith(world.find(), "corrupt_data", /it is a web page/);
});

Deno.test("R4 documents without a media type, or served as plain JSON, are taken by their content", async () => {
  await using world = await scriptedWorld();
  const { mediaType: _, ...bare } = IMAGE.manifest;
  serveImage(world.http, { ...IMAGE, manifest: bare as typeof IMAGE.manifest }, {
    mediaType: "application/json",
  });
  assert.deepEqual(await world.pull(), { f: "content" });
});

Deno.test("R5 Docker's schema 1 is refused by name", async () => {
  await using world = await scriptedWorld();
  serveManifest(world.http, { schemaVersion: 1, fsLayers: [] }, {
    mediaType: "application/vnd.docker.distribution.manifest.v1+prettyjws",
  });
  await rejectsWith(world.find(), "invalid_argument", /schema 1/);
});

Deno.test("R7 a layer's own URLs are never asked", async () => {
  await using world = await scriptedWorld();
  const foreign = {
    ...descriptorOf("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", LAYER),
    urls: ["https://elsewhere.test/layer"],
  };
  serveManifest(world.http, { ...IMAGE.manifest, layers: [foreign] });
  serveBlob(world.http, IMAGE.config);
  world.http.on("https://elsewhere.test/layer", { body: LAYER });
  await rejectsWith(world.pull(), "not_found", /Cannot find sha256/);
  assert(world.http.requests.every(({ url }) => url.startsWith(REPOSITORY)));
});

Deno.test("R8 a manifest larger than 4 MiB is refused, as is one with a key twice or nested too deep", async () => {
  await using world = await scriptedWorld();
  serveManifest(world.http, JSON.stringify(IMAGE.manifest) + " ".repeat(4 * 1024 * 1024));
  await rejectsWith(world.find(), "corrupt_data", /larger than 4 MiB/);
  serveManifest(world.http, `{"schemaVersion":2,"schemaVersion":2,"config":{},"layers":[]}`);
  await rejectsWith(world.find(), "corrupt_data", /a key twice/);
  serveManifest(world.http, `{"schemaVersion":2,"\\u0073chemaVersion":2}`);
  await rejectsWith(world.find(), "corrupt_data", /a key twice/);
  serveManifest(world.http, `{"a":${"[".repeat(100_000)}${"]".repeat(100_000)}}`);
  await rejectsWith(world.find(), "corrupt_data", /nested more than 64 deep/);
  await world.assertClean();
});

Deno.test("R9 what a configuration says is data, however strange", async () => {
  await using world = await scriptedWorld();
  const strange = {
    User: "$(id)\n; rm -rf /",
    Env: ["LD_PRELOAD=/evil.so", "NO_EQUALS", "__proto__=x"],
    WorkingDir: "../../..",
    Cmd: ["\u001b]52;c;eA==\u0007"],
    Labels: { __proto__: "x", "run.on.host": "touch /tmp/x" },
  };
  const config = JSON.stringify({ ...JSON.parse(IMAGE.config), config: strange });
  serveBlob(world.http, config);
  serveManifest(world.http, { ...IMAGE.manifest, config: descriptorOf(TYPES.config, config) });
  const found = await world.find();
  assert.equal(found.config?.user, strange.User);
  assert.deepEqual(found.config?.environment, strange.Env);
  assert.equal(found.config?.labels.get("run.on.host"), "touch /tmp/x");
});

Deno.test("R9 a configuration of wrong types is refused", async () => {
  await using world = await scriptedWorld();
  for (const wrong of [{ Env: "A=b" }, { Cmd: [1] }, { User: 5 }, { Entrypoint: {} }]) {
    const config = JSON.stringify({ ...JSON.parse(IMAGE.config), config: wrong });
    serveBlob(world.http, config);
    serveManifest(world.http, { ...IMAGE.manifest, config: descriptorOf(TYPES.config, config) });
    await rejectsWith(world.find(), "corrupt_data", /config of an image's configuration/);
  }
});

Deno.test("an artifact that is no image is refused by name", async () => {
  await using world = await scriptedWorld();
  const layers = [descriptorOf("application/vnd.cncf.helm.chart.content.v1.tar+gzip", LAYER)];
  serveManifest(world.http, { ...IMAGE.manifest, layers });
  await rejectsWith(world.find(), "invalid_argument", /is no file system layer/);
});

Deno.test("a pull that is cancelled ends at once and leaves nothing", async () => {
  await using world = await scriptedWorld();
  const abort = new AbortController();
  serveImage(world.http, IMAGE);
  world.http.on(`${REPOSITORY}/blobs/${digestOf(LAYER)}`, (request) =>
    new Promise((_, reject) => {
      request.signal!.addEventListener("abort", () => reject(request.signal!.reason), { once: true });
      queueMicrotask(() => abort.abort(new Error("the user has had enough")));
    }));
  await assert.rejects(world.pull(undefined, undefined, abort.signal), /the user has had enough/);
  await world.assertClean();
});

Deno.test("two pulls at once share a download, and one may leave", async () => {
  await using world = await scriptedWorld();
  serveImage(world.http, IMAGE);
  const release = Promise.withResolvers<void>();
  const asked = Promise.withResolvers<void>();
  world.http.on(`${REPOSITORY}/blobs/${digestOf(LAYER)}`, async () => {
    asked.resolve();
    await release.promise;
    return { body: LAYER };
  });
  const abort = new AbortController();
  const first = world.pull(undefined, undefined, abort.signal);
  await asked.promise;
  const shared = Promise.withResolvers<void>();
  const { download } = world.store;
  world.store.download = (...wanted) => {
    // Whoever gets it joins it at once, before anybody who waits here goes on.
    shared.resolve();
    return download.apply(world.store, wanted);
  };
  const second = world.pull();
  await shared.promise;
  abort.abort(new Error("left"));
  await assert.rejects(first, /left/);
  release.resolve();
  assert.deepEqual(await second, { f: "content" });
  const blobs = world.http.requests.filter(({ url }) => url.endsWith(digestOf(LAYER)));
  assert.equal(blobs.length, 1);
  await world.assertClean();
});
