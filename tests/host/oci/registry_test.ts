/** Debian's docker-registry: an index over platforms, pulls side by side, and what the registry refuses. */
import assert from "node:assert/strict";
import { BangerError } from "../../../lib/base/errors.ts";
import { archive, directory as directoryEntry, file } from "../../unit/oci/archive.ts";
import { openImages, pullListing } from "./puller.ts";
import { listDirectory } from "./listing.ts";
import { makeImage, pushIndex, pushToRegistry, run, temporaryDirectory, umociUnpack } from "./tools.ts";
import { startRegistry } from "../../../scripts/bench/registry.ts";
import { parsePlatform } from "../../../lib/oci/model/platform.ts";

const ARCHITECTURES = ["amd64", "arm64"];

Deno.test("an index gives each platform its image, and a second pull only asks", async () => {
  await using directory = await temporaryDirectory();
  await using registry = await startRegistry(directory.path);
  const { path } = directory;
  const layout = `${path}/layout`;
  for (const architecture of ARCHITECTURES) {
    await Deno.writeFile(
      `${path}/layer.tar`,
      archive(directoryEntry("./"), file(architecture, architecture)),
    );
    await makeImage(layout, architecture, [`${path}/layer.tar`]);
    await run("umoci", ["config", "--image", `${layout}:${architecture}`, "--architecture", architecture]);
  }
  await pushIndex(layout, ARCHITECTURES, `${registry.host}/multi:all`);
  const store = `${path}/store`;
  for (const architecture of ARCHITECTURES) {
    const { listing } = await pullListing(store, `${registry.host}/multi:all`, architecture);
    assert.deepEqual(Object.keys(listing), ["", architecture]);
    const unpacked = await umociUnpack(layout, architecture, `${path}/${architecture}`);
    assert.deepEqual(listing, await listDirectory(unpacked));
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
  await Deno.writeFile(shared, archive(directoryEntry("./"), file("shared", "s".repeat(3_000_000))));
  for (const name of ["a", "b"]) {
    await Deno.writeFile(`${path}/${name}.tar`, archive(file(name, name.repeat(2_000_000))));
    await makeImage(`${path}/layout`, name, [shared, `${path}/${name}.tar`]);
    await pushToRegistry(`${path}/layout`, name, `${registry.host}/${name}:t`);
  }
  const pulls = ["a", "b", "a", "b"].map((name) =>
    pullListing(`${path}/store`, `${registry.host}/${name}:t`)
  );
  for (const [index, { listing }] of (await Promise.all(pulls)).entries()) {
    const name = index % 2 === 0 ? "a" : "b";
    assert.deepEqual(Object.keys(listing).sort(), ["", name, "shared"]);
    const unpacked = await umociUnpack(`${path}/layout`, name, `${path}/bundle-${index}`);
    assert.deepEqual(listing, await listDirectory(unpacked));
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
