/** Images of registries, layouts and files, by the compiled executables. */
import assert from "node:assert/strict";
import { makeLower } from "../host/oci/everything.ts";
import { makeImage, pushToRegistry, run, temporaryDirectory, umociUnpack } from "../host/oci/tools.ts";
import { startRegistry } from "../../scripts/bench/registry.ts";
import { archive, directory, file, member, symlink } from "../unit/oci/archive.ts";
import { assertCleanFilesystem } from "./clean_stop.ts";
import { banger, HOME, ok, otherHome, refused, removing, STATE, vm, vmNames } from "./fixture.ts";

interface Image {
  readonly id: string;
  readonly name: string;
  readonly source: string;
  readonly digest: string;
  readonly sizeBytes: number;
  readonly platform?: string;
  readonly aliases?: readonly string[];
}

async function image(name: string): Promise<Image> {
  return JSON.parse(await ok(["image", "show", name, "--json"])) as Image;
}

const rootfs = ({ id }: Image) => `${STATE}/images/${id}/rootfs.ext4`;

/** What a failure must not leave. */
function stagingDirectories(): string[] {
  return [...Deno.readDirSync(`${STATE}/images`)].map(({ name }) => name).filter((name) =>
    name.startsWith(".")
  );
}

function removingImages(...names: string[]): AsyncDisposable {
  return {
    async [Symbol.asyncDispose]() {
      for (const name of names) await banger(["image", "rm", name]);
    },
  };
}

/** Does not compress, and is another one each time: no test finds the content of the one before in the store. */
function noise(sizeBytes: number): Uint8Array {
  let state = Math.random() * 2 ** 32;
  return Uint8Array.from(
    { length: sizeBytes },
    () => (state = Math.imul(state, 1664525) + 1013904223) >>> 24,
  );
}

/** A registry with a multi-layer image `web:v1`, and the layout that it was pushed from. */
async function registryWithImage() {
  const ends = new AsyncDisposableStack();
  const { path } = ends.use(await temporaryDirectory());
  const registry = ends.use(await startRegistry(path));
  const layers = [
    archive(
      directory("bin", { mode: 0o755 }),
      member({ name: "bin/busybox", body: await Deno.readFile("/usr/bin/busybox"), mode: 0o755 }),
      symlink("bin/sh", "busybox"),
      file("hidden", "of the lower layer"),
      directory("opaque"),
      file("opaque/lower", "of the lower layer"),
      member({ name: "noise", body: noise(6 * 1024 * 1024) }),
    ),
    archive(file(".wh.hidden"), file("opaque/.wh..wh..opq"), file("opaque/upper", "of the upper layer")),
  ];
  const tars: string[] = [];
  for (const [index, layer] of layers.entries()) {
    tars.push(`${path}/layer-${index}.tar`);
    await Deno.writeFile(tars.at(-1)!, layer);
  }
  const layout = `${path}/layout`;
  await makeImage(layout, "v1", tars);
  await pushToRegistry(layout, "v1", `${registry.host}/team/web:v1`);
  return { path, layout, host: registry.host, [Symbol.asyncDispose]: () => ends.disposeAsync() };
}

/** Blobs as docker-registry keeps them. @returns the path of the largest one's bytes */
async function largestBlob(path: string): Promise<string> {
  const blobs = `${path}/registry/docker/registry/v2/blobs`;
  const text = new TextDecoder().decode(await run("find", [blobs, "-name", "data", "-printf", "%s %p\n"]));
  const [largest] = text.trim().split("\n").sort((a, b) => parseInt(b) - parseInt(a));
  return largest!.split(" ")[1]!;
}

async function treeOf(disk: string): Promise<string> {
  const text = new TextDecoder().decode(await run("debugfs", ["-R", "ls -p /opaque", disk]));
  return [...text.matchAll(/^\/\d+\/\d+\/\d+\/\d+\/([^/]+)\//gm)].map((match) => match[1]).join(" ");
}

Deno.test("image pull makes a bootable disk of a registry's image, once, and of its layers what umoci unpacks", async () => {
  await using made = await registryWithImage();
  await using _images = removingImages("web-v1");
  const reference = `${made.host}/team/web:v1`;
  assert.equal(await ok(["image", "pull", reference]), "web-v1\n");
  const first = await image(reference);
  assert.deepEqual([first.name, first.source, first.platform], ["web-v1", reference, "linux/amd64"]);
  await assertCleanFilesystem(rootfs(first));
  const unpacked = await umociUnpack(made.layout, "v1", `${made.path}/bundle`);
  assert.deepEqual([...Deno.readDirSync(`${unpacked}/opaque`)].map(({ name }) => name), ["upper"]);
  assert.equal(await treeOf(rootfs(first)), ". .. upper");
  await run("sh", [
    "-c",
    `debugfs -R 'cat /noise' ${rootfs(first)} 2>/dev/null | cmp - ${unpacked}/noise`,
  ]);

  // The registry lost the layer: who asks again gets by without it.
  await Deno.remove(await largestBlob(made.path));
  assert.equal(await ok(["image", "pull", reference]), "web-v1\n");
  assert.equal((await image("web-v1")).id, first.id);
  assert.match(await ok(["image", "verify", "web-v1"]), /is what its source gives/);
});

Deno.test("two pulls in two empty homes give the same disk, byte for byte", async () => {
  await using made = await registryWithImage();
  const reference = `${made.host}/team/every:v1`;
  await makeImage(made.layout, "every", [await makeLower(made.path, "pax"), `${made.path}/layer-1.tar`]);
  await pushToRegistry(made.layout, "every", reference);
  const disks: string[] = [];
  await using ends = new AsyncDisposableStack();
  for (const source of [reference, reference, `oci:${made.layout}:every`]) {
    const { HOME } = ends.use(await otherHome());
    const env = { HOME };
    // Small, since cmp reads all of it.
    await ok(["image", "pull", source, "--name", "every", "--size", "256M"], { env });
    const { id } = JSON.parse(await ok(["image", "show", "every", "--json"], { env })) as Image;
    disks.push(`${HOME}/.local/state/banger/images/${id}/rootfs.ext4`);
  }
  await run("cmp", [disks[0]!, disks[1]!]);
  await run("cmp", [disks[0]!, disks[2]!]);
});

Deno.test("pulls of one image at once share the work, and another goes on beside them", async () => {
  await using made = await registryWithImage();
  await pushToRegistry(made.layout, "v1", `${made.host}/team/web:v2`);
  await Deno.writeFile(`${made.path}/other.tar`, archive(file("other", "content")));
  await using _images = removingImages("web-v1", "web-v2", "other");
  const names = await Promise.all([
    ok(["image", "pull", `${made.host}/team/web:v1`]),
    ok(["image", "pull", `${made.host}/team/web:v1`]),
    ok(["image", "pull", `tar:${made.path}/other.tar`]),
  ]);
  assert.deepEqual(names, ["web-v1\n", "web-v1\n", "other\n"]);
  // Another tag of the same image is the same image, and it can be asked for by both.
  assert.equal(await ok(["image", "pull", `${made.host}/team/web:v2`]), "web-v1\n");
  assert.equal((await image(`${made.host}/team/web:v2`)).name, "web-v1");
});

Deno.test("a pull that fails says why and leaves nothing: a damaged layer, a lost one, no registry", async () => {
  const made = await registryWithImage();
  const reference = `${made.host}/team/web:v1`;
  try {
    const blob = await largestBlob(made.path);
    const content = await Deno.readFile(blob);
    content[content.length >> 1]! ^= 0xff;
    await Deno.writeFile(blob, content);
    await refused(["image", "pull", reference, "--quiet"], 6, /digest|corrupt|data/i);
    assert.deepEqual(stagingDirectories(), []);
    await Deno.remove(blob);
    assert.notEqual((await banger(["image", "pull", reference])).code, 0);
    assert.deepEqual(stagingDirectories(), []);
  } finally {
    await made[Symbol.asyncDispose]();
  }
  await refused(["image", "pull", reference], 6, /Cannot (get an answer|reach)/);
  await refused(["vm", "create", "--no-start", "--image", reference], 6, /Cannot (get an answer|reach)/);
  assert.deepEqual(stagingDirectories(), []);
  assert.doesNotMatch(await ok(["image", "list"]), /web-v1/);
  assert.deepEqual(await vmNames(), []);
});

Deno.test("vm create takes a reference, and what was pulled by it needs no registry any more", async () => {
  await using made = await registryWithImage();
  await using _images = removingImages("web-v1");
  const reference = `${made.host}/team/web:v1`;
  {
    await using _vm = removing("from-reference");
    await ok(["vm", "create", "--no-start", "--name", "from-reference", "--image", reference]);
    assert.equal((await vm("from-reference")).image, "web-v1");
    await refused(["image", "rm", reference], 4, /from-reference/);
  }
  await Deno.remove(`${made.path}/registry`, { recursive: true });
  await using _vm = removing("offline");
  await ok(["vm", "create", "--no-start", "--name", "offline", "--image", reference]);
});

Deno.test("a mirror in config.toml stands in for a registry at once, and unknown keys are refused", async () => {
  await using made = await registryWithImage();
  await using _images = removingImages("web-v1");
  const path = `${HOME}/.config/banger/config.toml`;
  await Deno.mkdir(`${HOME}/.config/banger`, { recursive: true });
  try {
    await Deno.writeTextFile(path, "[registries]\ninsecur = []\n");
    await refused(["image", "pull", "web:v1"], 2, /config\.toml: .*registries.*insecur/);
    const mirror = `prefix = "docker.io/library"\nlocation = "${made.host}/team"\n`;
    await Deno.writeTextFile(path, `[[registries.mirrors]]\n${mirror}`);
    assert.equal(await ok(["image", "pull", "web:v1"]), "web-v1\n");
    assert.equal((await image("web-v1")).source, "docker.io/library/web:v1");
  } finally {
    await Deno.remove(path);
  }
});

Deno.test("a disk of one's own is registered where it lies, and promoted to banger's own", async () => {
  await using temporary = await temporaryDirectory();
  const { path } = temporary;
  await using _images = removingImages("base", "mine", "small");
  await Deno.writeFile(`${path}/base.tar`, archive(file("here", "content")));
  await ok(["image", "pull", `tar:${path}/base.tar`, "--size", "256M"]);
  const base = await image("base");
  assert.equal(base.sizeBytes, 256 * 1024 * 1024);
  await run("cp", ["--sparse=always", rootfs(base), `${path}/mine.ext4`]);
  await ok(["image", "register", "mine", "--rootfs", `${path}/mine.ext4`]);
  await ok(["image", "verify", "mine"]);
  await ok(["image", "promote", "mine"]);
  await Deno.remove(`${path}/mine.ext4`);
  await run("cmp", [rootfs(base), rootfs(await image("mine"))]);
  await refused(["image", "promote", "mine"], 4, /banger's own already/);
  await run("truncate", ["-s", "8M", `${path}/empty.ext4`]);
  await refused(["image", "register", "empty", "--rootfs", `${path}/empty.ext4`], 6, /no superblock/);
  await refused(["image", "pull", `tar:${path}/base.tar`, "--size", "16M", "--name", "small"], 8, /fit/);
  assert.deepEqual(stagingDirectories(), []);
});

Deno.test("image prune gives back what no image needs", async () => {
  await using made = await registryWithImage();
  await using _images = removingImages("web-v1");
  const prune = async () => JSON.parse(await ok(["image", "prune", "--json"])) as { freedBytes: number };
  await prune();
  await ok(["image", "pull", `${made.host}/team/web:v1`]);
  assert.equal((await prune()).freedBytes, 0);
  await ok(["image", "rm", "web-v1"]);
  assert.ok((await prune()).freedBytes > 6 * 1024 * 1024);
});

for (
  const [line, code, pattern] of [
    ["image pull alpine:UPPER/case", 2, /as an image reference/],
    ["image pull nonsense", 3, /the catalog has no image/],
    ["image pull tar:/nonexistent.tar", 3, /does not exist/],
    ["image pull oci:/nonexistent", 3, /no OCI image-layout/],
    ["image pull tar:", 2, /has no path/],
    ["image pull 127.0.0.1:1/a:b --name Bad", 2, /as an image name/],
    ["image pull 127.0.0.1:1/a:b --platform linux/a/b/c", 2, /as a platform/],
    ["image pull 127.0.0.1:1/a:b --size lots", 2, /as a size/],
    ["image register x", 2, /--rootfs is missing/],
    ["image register x --rootfs /nonexistent.ext4", 3, /does not exist/],
    ["image verify nope", 3, /Cannot find image "nope"/],
    ["image promote nope", 3, /Cannot find image "nope"/],
    ["vm create --image team/UPPER:x", 2, /as an image reference/],
  ] as const
) {
  Deno.test(`banger ${line}: a clear refusal with exit code ${code}`, async () => {
    await refused(line.split(" "), code, pattern);
    assert.deepEqual(stagingDirectories(), []);
  });
}

Deno.test("image list --available shows the catalog", async () => {
  const entries = JSON.parse(await ok(["image", "list", "--available", "--json"])) as { name: string }[];
  assert.equal(entries[0]!.name, "debian-bookworm");
  assert.match(await ok(["image", "list", "--available"]), /alpine .*docker\.io\/library\/alpine/);
});
