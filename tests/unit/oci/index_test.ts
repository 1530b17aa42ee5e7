import assert from "node:assert/strict";
import { digestOf } from "../../../lib/oci/model/digest.ts";
import { libc } from "../../../lib/sys/libc.ts";
import { archive, file } from "./archive.ts";
import { rejectsWith } from "./replayed.ts";
import { imageOf, scriptedWorld, serveImage, serveManifest, TYPES } from "./scripted.ts";

// Opened once and for good by whoever locks a file first: here, so that no test seems to leak it.
libc();

const LAYER = archive(file("f", "content"));
const IMAGE = imageOf([LAYER]);

const entry = (descriptor: object, architecture?: string, more: object = {}) => ({
  ...descriptor,
  ...(architecture === undefined ? {} : { platform: { os: "linux", architecture, ...more } }),
});
const index = (...manifests: object[]) => ({ schemaVersion: 2, mediaType: TYPES.index, manifests });

Deno.test("an index gives the platform's image, or says what it has", async () => {
  await using world = await scriptedWorld();
  const arm = imageOf([archive(file("arm", ""))], { architecture: "arm64" });
  const entries = [
    entry(serveImage(world.http, arm), "arm64"),
    entry(serveImage(world.http, IMAGE), "amd64"),
  ];
  serveManifest(world.http, index(...entries), { mediaType: TYPES.index });
  assert.deepEqual(await world.pull(), { f: "content" });
  assert.deepEqual(await world.pull(undefined, "linux/arm64"), { arm: "" });
  await assert.rejects(world.find(undefined, "linux/riscv64"), (failure: Error & { hint?: string }) => {
    assert.match(failure.message, /no image for linux\/riscv64/);
    assert.match(failure.hint!, /linux\/arm64, linux\/amd64/);
    return true;
  });
});

Deno.test("an image for another platform is refused also where nothing but its configuration says so", async () => {
  await using world = await scriptedWorld();
  serveImage(world.http, imageOf([LAYER], { architecture: "s390x" }));
  await rejectsWith(world.find(), "not_found", /no image for linux\/amd64/);
});

Deno.test("of several variants the newest that runs is taken", async () => {
  await using world = await scriptedWorld();
  const entries = ["v6", "v5", "v7", "v8"].map((variant) => {
    const image = imageOf([archive(file(variant, ""))], { architecture: "arm" });
    return entry(serveImage(world.http, image), "arm", { variant });
  });
  serveManifest(world.http, index(...entries), { mediaType: TYPES.index });
  assert.deepEqual(await world.pull(undefined, "linux/arm/v7"), { v7: "" });
});

Deno.test("R6 an index within an index is followed", async () => {
  await using world = await scriptedWorld();
  const inner = serveManifest(world.http, index(entry(serveImage(world.http, IMAGE), "amd64")), {
    mediaType: TYPES.index,
  });
  serveManifest(world.http, index(inner), { mediaType: TYPES.index });
  assert.deepEqual(await world.pull(), { f: "content" });
});

Deno.test("R6 indexes nested too deep, and too many, are refused", async () => {
  await using world = await scriptedWorld();
  let nested = serveImage(world.http, IMAGE);
  for (let depth = 0; depth < 5; depth++) {
    nested = serveManifest(world.http, index(nested), { mediaType: TYPES.index });
  }
  await rejectsWith(world.find(), "corrupt_data", /nested more than 4 deep/);
  const many = Array.from(
    { length: 40 },
    (_, i) => serveManifest(world.http, { ...index(), annotations: { i } }, { mediaType: TYPES.index }),
  );
  serveManifest(world.http, index(...many), { mediaType: TYPES.index });
  await rejectsWith(world.find(), "corrupt_data", /name too many images/);
  assert(world.http.requests.length < 60);
});

Deno.test("R6 an entry that is there twice is asked for once", async () => {
  await using world = await scriptedWorld();
  const other = serveManifest(world.http, index(), { mediaType: TYPES.index });
  serveManifest(world.http, index(other, other, other), { mediaType: TYPES.index });
  await rejectsWith(world.find(), "not_found", /no image for/);
  assert.equal(world.http.requests.length, 2);
});

Deno.test("R6 an index with more than a thousand entries is refused", async () => {
  await using world = await scriptedWorld();
  const { config } = IMAGE.manifest;
  serveManifest(world.http, index(...Array.from({ length: 1001 }, () => config)), { mediaType: TYPES.index });
  await rejectsWith(world.find(), "corrupt_data", /more than 1000 entries/);
});

Deno.test("R10 entries of an unknown media type are skipped", async () => {
  await using world = await scriptedWorld();
  const image = serveImage(world.http, IMAGE);
  const unknown = {
    ...image,
    mediaType: "application/vnd.example.sbom+json",
    digest: digestOf(new Uint8Array(3)),
  };
  const attestation = {
    ...image,
    digest: digestOf(new Uint8Array(4)),
    platform: { os: "unknown", architecture: "unknown" },
  };
  serveManifest(world.http, index(entry(unknown, "amd64"), attestation, entry(image, "amd64")), {
    mediaType: TYPES.index,
  });
  assert.deepEqual(await world.pull(), { f: "content" });
});
