/** Debian's docker-registry: an index over platforms, pulls side by side, and what the registry refuses. */
import assert from "node:assert/strict";
import { BangerError } from "../../../lib/base/errors.ts";
import { archive, file } from "../../unit/oci/archive.ts";
import { openImages, pullListing } from "./puller.ts";
import { makeImage, pushToRegistry, run, startRegistry, temporaryDirectory } from "./tools.ts";
import { parsePlatform } from "../../../lib/oci/model/platform.ts";

const INDEX_TYPE = "application/vnd.oci.image.index.v1+json";

/** Pushes an image with one file for each platform, and an index over them. */
async function pushIndex(directory: string, host: string): Promise<void> {
  const manifests = [];
  for (const architecture of ["amd64", "arm64"]) {
    const layer = `${directory}/${architecture}.tar`;
    await Deno.writeFile(layer, archive(file(architecture, architecture)));
    await makeImage(`${directory}/layout`, architecture, [layer]);
    const config = [
      "config",
      "--image",
      `${directory}/layout:${architecture}`,
      "--architecture",
      architecture,
    ];
    await run("umoci", config);
    const to = `${host}/multi:${architecture}`;
    await pushToRegistry(`${directory}/layout`, architecture, to);
    const pushed = await fetch(`http://${host}/v2/multi/manifests/${architecture}`, {
      headers: { accept: "application/vnd.oci.image.manifest.v1+json" },
    });
    const size = (await pushed.arrayBuffer()).byteLength;
    manifests.push({
      mediaType: "application/vnd.oci.image.manifest.v1+json",
      digest: pushed.headers.get("docker-content-digest"),
      size,
      platform: { os: "linux", architecture },
    });
  }
  const response = await fetch(`http://${host}/v2/multi/manifests/all`, {
    method: "PUT",
    headers: { "content-type": INDEX_TYPE },
    body: JSON.stringify({ schemaVersion: 2, mediaType: INDEX_TYPE, manifests }),
  });
  assert.equal(response.status, 201, await response.text());
}

Deno.test("an index gives each platform its image, and a second pull only asks", async () => {
  await using directory = await temporaryDirectory();
  await using registry = await startRegistry(directory.path);
  await pushIndex(directory.path, registry.host);
  const store = `${directory.path}/store`;
  for (const architecture of ["amd64", "arm64"]) {
    const { listing } = await pullListing(store, `${registry.host}/multi:all`, architecture);
    assert.deepEqual(Object.keys(listing), ["", architecture]);
  }
  await assert.rejects(
    pullListing(store, `${registry.host}/multi:all`, "riscv64"),
    (failure) => failure instanceof BangerError && failure.hint === "It has linux/amd64, linux/arm64",
  );
  await using opened = await openImages(store);
  const started = performance.now();
  await opened.images.find(
    `${registry.host}/multi:all`,
    parsePlatform("amd64"),
    new AbortController().signal,
  );
  assert(performance.now() - started < 300, "finding a stored image again took longer than 0.3 s");
});

Deno.test("pulls side by side, of one image and of several, all end well", async () => {
  await using directory = await temporaryDirectory();
  await using registry = await startRegistry(directory.path);
  const { path } = directory;
  const shared = `${path}/shared.tar`;
  await Deno.writeFile(shared, archive(file("shared", "s".repeat(3_000_000))));
  for (const name of ["a", "b"]) {
    await Deno.writeFile(`${path}/${name}.tar`, archive(file(name, name.repeat(2_000_000))));
    await makeImage(`${path}/layout`, name, [shared, `${path}/${name}.tar`]);
    await pushToRegistry(`${path}/layout`, name, `${registry.host}/${name}:t`);
  }
  const pulls = ["a", "b", "a", "b"].map((name) =>
    pullListing(`${path}/store`, `${registry.host}/${name}:t`)
  );
  for (const [index, { listing }] of (await Promise.all(pulls)).entries()) {
    assert.deepEqual(Object.keys(listing).sort(), ["", index % 2 === 0 ? "a" : "b", "shared"]);
  }
  const left = [...Deno.readDirSync(`${path}/store/ingest`)];
  assert.deepEqual(left, [], "staging was left behind");
});

Deno.test("what the registry does not have is said so", async () => {
  await using directory = await temporaryDirectory();
  await using registry = await startRegistry(directory.path);
  await assert.rejects(
    pullListing(`${directory.path}/store`, `${registry.host}/none:t`),
    (failure) => failure instanceof BangerError && failure.code === "not_found",
  );
});
