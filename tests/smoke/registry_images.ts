/** Images in Debian's docker-registry, made by umoci, for machines to be made of. */
import { CHANGES, MAKE_LOWER, setLowerXattrs } from "../host/oci/everything.ts";
import {
  makeImage,
  pushIndex,
  pushToRegistry,
  run,
  temporaryDirectory,
  umociUnpack,
} from "../host/oci/tools.ts";
import { startRegistry } from "../../scripts/bench/registry.ts";
import { makeTar, type Tree } from "./small_images.ts";

/** A registry on loopback, and an image-layout to push from. */
export interface Workshop {
  readonly path: string;
  readonly host: string;
  readonly layout: string;
}

export async function openWorkshop(): Promise<Workshop & AsyncDisposable> {
  const ends = new AsyncDisposableStack();
  const { path } = ends.use(await temporaryDirectory());
  const { host } = ends.use(await startRegistry(path));
  return { path, host, layout: `${path}/layout`, [Symbol.asyncDispose]: () => ends.disposeAsync() };
}

/** An image of one layer. @param settings arguments of `umoci config` */
export async function makeTreeImage(
  { path, layout }: Workshop,
  tag: string,
  tree: Tree,
  settings: readonly string[] = [],
): Promise<void> {
  await makeImage(layout, tag, [await makeTar(path, tag, tree)]);
  if (settings.length > 0) await run("umoci", ["config", "--image", `${layout}:${tag}`, ...settings]);
}

/** Adds what the script changes as a layer: umoci makes the whiteouts. @param script runs in the root directory */
export async function addLayer(
  { path, layout }: Workshop,
  tag: string,
  script: string,
  more: (root: string) => void = () => {},
): Promise<void> {
  const bundle = await Deno.makeTempDir({ dir: path });
  const root = await umociUnpack(layout, tag, `${bundle}/b`);
  await run("sh", ["-c", script], { cwd: root });
  more(root);
  await run("umoci", ["repack", "--image", `${layout}:${tag}`, `${bundle}/b`]);
  await Deno.remove(bundle, { recursive: true });
}

export async function push({ host, layout }: Workshop, tag: string): Promise<string> {
  const reference = `${host}/team/${tag}:v1`;
  await pushToRegistry(layout, tag, reference);
  return reference;
}

/** An index over this platform's image, which lies under the tag `amd64`, and another for arm64. */
export async function pushAsIndex(workshop: Workshop, name: string): Promise<string> {
  const { layout, host } = workshop;
  await makeTreeImage(workshop, "arm64", { "architecture": "arm64" }, ["--architecture", "arm64"]);
  const reference = `${host}/team/${name}:v1`;
  await pushIndex(layout, ["amd64", "arm64"], reference);
  return reference;
}

export const BIG_FILE = "big";
/** Where the big file, which is else a hole, holds its text: across 4 GiB, and at the end. */
export const BIG_FILE_PIECES = [[2 ** 32 - 5, "across 4G"], [5 * 2 ** 30, "the end"]] as const;
/** Far more than one block holds: a hashed directory. */
export const MANY_FILES = 2000;

/** Of what is in Debian's essential packages: no program here needs it, and every file costs umoci time. */
const LEFT_OUT = ["share/man", "share/locale", "share/doc", "share/perl", "share/bash-completion"];

/** Debian's essential packages as one layer. Takes a while: start it early. */
export async function makeDebianTar(directory: string): Promise<string> {
  const tar = `${directory}/debian.tar`;
  const perl = '"$1"/usr/lib/*-linux-gnu/perl "$1"/usr/lib/*-linux-gnu/gconv';
  await run("mmdebstrap", [
    "--quiet",
    "--variant=essential",
    "--include=attr",
    "--dpkgopt=force-unsafe-io",
    '--aptopt=Acquire::Languages "none"',
    `--customize-hook=rm -rf ${perl} ${LEFT_OUT.map((path) => `"$1"/usr/${path}`).join(" ")}`,
    "bookworm",
    tar,
  ]);
  return tar;
}

/** Debian with everything that a tree can have below `/srv`, and a layer with whiteouts over it. */
export async function makeDebianImage(workshop: Workshop, tar: string): Promise<string> {
  const { layout, path } = workshop;
  const srv = `${path}/srv`;
  await Deno.mkdir(`${srv}/srv/many`, { recursive: true });
  await run("sh", ["-c", MAKE_LOWER], { cwd: `${srv}/srv` });
  setLowerXattrs(`${srv}/srv`);
  for (let i = 0; i < MANY_FILES; i++) await Deno.writeTextFile(`${srv}/srv/many/one-of-many-${i}`, "");
  const everything = `${path}/srv.tar`;
  await run("tar", ["--format=pax", "--xattrs", "--xattrs-include=*", "-C", srv, "-cf", everything, "srv"]);
  await makeImage(layout, "debian", [tar, everything]);
  await addLayer(workshop, "debian", `cd srv; ${CHANGES.join("\n")}`);
  // umoci would unpack it in full: it is pushed with the rest, but under another tag than the one it unpacks.
  await run("umoci", ["tag", "--image", `${layout}:debian`, "debian-big"]);
  const layer = await makeBigFileLayer(path);
  await run("umoci", ["raw", "add-layer", "--image", `${layout}:debian-big`, layer]);
  return await push(workshop, "debian-big");
}

async function makeBigFileLayer(directory: string): Promise<string> {
  {
    using big = await Deno.open(`${directory}/${BIG_FILE}`, { write: true, createNew: true });
    for (const [at, text] of BIG_FILE_PIECES) {
      await big.seek(at, Deno.SeekMode.Start);
      await big.write(new TextEncoder().encode(text));
    }
  }
  const tar = `${directory}/big.tar`;
  await run("tar", ["--format=pax", "--sparse", "-C", directory, "-cf", tar, BIG_FILE]);
  await Deno.remove(`${directory}/${BIG_FILE}`);
  return tar;
}
