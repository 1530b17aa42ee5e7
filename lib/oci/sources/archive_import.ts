import { BangerError } from "../../base/errors.ts";
import type { Files } from "../../base/host.ts";
import { quote } from "../../base/names.ts";
import type { ByteString } from "../../base/tree.ts";
import { cleanPath } from "../../base/tree_paths.ts";
import { decodeHereWith } from "../compression/codecs.ts";
import { decompress } from "../compression/decompress.ts";
import { digestOf, isDigest } from "../model/digest.ts";
import { type Json, JsonReader, MAX_JSON_BYTES, parseJson } from "../model/json.ts";
import { type Descriptor, OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, parseManifest } from "../model/manifest.ts";
import type { ContentStore } from "../store/content_store.ts";
import { readFile } from "../store/read_file.ts";
import type { EntrySource, TarEntry } from "../tar/entry.ts";
import { TarReader } from "../tar/reader.ts";
import { readBounded } from "./bounded.ts";
import { chooseImage } from "./layout_source.ts";
import type { FetchedManifest, ImageSource } from "./source.ts";

/** Files of an archive: layers, configurations and what old versions of Docker put beside them. */
const MAX_ENTRIES = 20_000;
const MAX_LINK_HOPS = 8;
const BLOB_PATH = /^blobs\/(sha256|sha512)\/([0-9a-f]+)$/;

/**
 * An image in an archive of an OCI image-layout, compressed or not. Its blobs are taken into the store in one
 * pass, since an archive has no order that would let one choose.
 *
 * @param choice a tag or digest; without it there must be one image only
 */
export async function ociArchiveSource(
  files: Files,
  store: ContentStore,
  path: string,
  choice: string | undefined,
  signal?: AbortSignal,
): Promise<ImageSource> {
  const name = `oci-archive:${path}`;
  const documents = new Map<string, Uint8Array>();
  await eachFile(files, store, path, signal, async (entryPath, entry, reader) => {
    const blob = BLOB_PATH.exec(entryPath);
    const digest = blob === null ? "" : `${blob[1]}:${blob[2]}`;
    if (isDigest(digest)) await store.putStream(contentOf(reader), digest);
    else if (entryPath === "index.json" || entryPath === "oci-layout") {
      if (entry.kind !== "file") throw notAnArchive(name, `${entryPath} is no file`);
      documents.set(
        entryPath,
        await readBounded(contentOf(reader), MAX_JSON_BYTES, `${entryPath} of ${name}`),
      );
    }
  });
  const bytes = documents.get("index.json");
  if (bytes === undefined || !documents.has("oci-layout")) throw notAnArchive(name, "it has no index.json");
  const index = parseManifest(bytes, undefined);
  if (index.kind !== "index") throw notAnArchive(name, "its index.json is no index");
  return storedSource(store, name, chooseImage(index.entries, choice, name));
}

/**
 * An image in what `docker save` and `podman save` write, compressed or not.
 *
 * @param choice one of its tags (`alpine:3.20`); without it there must be one image only
 * Source: moby image/spec/v1.2.md, "Combined Image JSON + Filesystem Changeset Format"
 */
export async function dockerArchiveSource(
  files: Files,
  store: ContentStore,
  path: string,
  choice: string | undefined,
  signal?: AbortSignal,
): Promise<ImageSource> {
  const name = `docker-archive:${path}`;
  const stored = new Map<string, { digest: Descriptor["digest"]; sizeBytes: number }>();
  const links = new Map<string, string>();
  let list: Uint8Array | undefined;
  await eachFile(files, store, path, signal, async (entryPath, entry, reader) => {
    if (entry.kind === "file" && entryPath === "manifest.json") {
      list = await readBounded(contentOf(reader), MAX_JSON_BYTES, `manifest.json of ${name}`);
    } else if (entry.kind === "file") stored.set(entryPath, await store.putStream(contentOf(reader)));
    // Old versions write a layer that several images have once, and links for the others.
    else if (entry.kind === "symlink") links.set(entryPath, joined(dirOf(entryPath), entry.linkTarget));
    else if (entry.kind === "hard-link") links.set(entryPath, joined("", entry.linkTarget));
  });
  if (list === undefined) throw notAnArchive(name, "it has no manifest.json");
  const image = chooseDockerImage(parseJson(list, `manifest.json of ${name}`), choice, name);
  const find = (wanted: string) => {
    let at = joined("", wanted);
    for (let hops = 0; links.has(at) && hops < MAX_LINK_HOPS; hops++) at = links.get(at)!;
    const found = stored.get(at);
    if (found === undefined) throw notAnArchive(name, `${quote(wanted)} is missing`);
    return found;
  };
  const manifest = manifestOf(find(image.config), image.layers.map(find));
  await store.putBytes(manifest);
  const descriptor = { mediaType: OCI_MANIFEST, digest: digestOf(manifest), sizeBytes: manifest.length };
  return storedSource(store, name, descriptor);
}

type Stored = Pick<Descriptor, "digest" | "sizeBytes">;

/** The manifest that the archive itself does not have: a function of its content alone. */
function manifestOf(config: Stored, layers: readonly Stored[]): Uint8Array {
  const descriptor = (mediaType: string, { digest, sizeBytes }: Stored) => ({
    mediaType,
    digest,
    size: sizeBytes,
  });
  return new TextEncoder().encode(JSON.stringify({
    schemaVersion: 2,
    mediaType: OCI_MANIFEST,
    config: descriptor(OCI_CONFIG, config),
    layers: layers.map((layer) => descriptor(OCI_LAYER, layer)),
  }));
}

function chooseDockerImage(
  list: Json,
  choice: string | undefined,
  name: string,
): { config: string; layers: readonly string[] } {
  const what = `manifest.json of ${name}`;
  if (!Array.isArray(list)) throw notAnArchive(name, "its manifest.json is no list");
  const images = list.map((value: Json) => {
    const reader = new JsonReader(value, what);
    return {
      config: reader.getString("Config"),
      layers: reader.findStrings("Layers", 512) ?? [],
      tags: reader.findStrings("RepoTags", 1000) ?? [],
    };
  });
  const fitting = choice === undefined
    ? images
    : images.filter(({ tags }) => tags.some((tag) => tag === choice || tag === `${choice}:latest`));
  if (fitting.length === 1) return fitting[0]!;
  const listed = `It has ${
    images.flatMap(({ tags }) => tags).slice(0, 20).map(quote).join(", ") || "no tags"
  }`;
  throw fitting.length === 0
    ? new BangerError("not_found", `Cannot find ${quote(choice ?? "an image")} in ${name}`, listed)
    : new BangerError(
      "invalid_argument",
      `Cannot choose an image in ${name}: there are ${fitting.length}`,
      listed,
    );
}

/** An image whose blobs are in the store. */
function storedSource(store: ContentStore, name: string, root: Descriptor): ImageSource {
  const fetch = async ({ digest, mediaType }: Descriptor): Promise<FetchedManifest> => {
    const bytes = await store.findBytes(digest);
    if (bytes === undefined) throw notAnArchive(name, `${digest} is missing`);
    return { bytes, mediaType, digest };
  };
  return {
    name,
    place: "store",
    fetchRoot: () => fetch(root),
    fetchManifest: fetch,
    openBlob: (descriptor) => Promise.resolve({ offsetBytes: 0, body: store.read(descriptor) }),
  };
}

async function eachFile(
  files: Files,
  store: ContentStore,
  path: string,
  signal: AbortSignal | undefined,
  take: (path: string, entry: TarEntry, reader: EntrySource) => Promise<void>,
): Promise<void> {
  const decode = decodeHereWith(() => store.openScratch());
  const reader = new TarReader(decompress(readFile(files, path), {}, decode));
  try {
    let count = 0;
    for (let entry = await reader.nextEntry(); entry !== undefined; entry = await reader.nextEntry()) {
      signal?.throwIfAborted();
      if (++count > MAX_ENTRIES) throw notAnArchive(path, `it has more than ${MAX_ENTRIES} entries`);
      if (entry.kind !== "directory") await take(cleanPath(entry.path).join("/"), entry, reader);
    }
  } finally {
    await reader.close();
  }
}

async function* contentOf(reader: EntrySource): AsyncGenerator<Uint8Array> {
  for (let chunk = await reader.nextChunk(); chunk !== undefined; chunk = await reader.nextChunk()) {
    yield chunk;
  }
}

function dirOf(path: string): string {
  return path.slice(0, Math.max(path.lastIndexOf("/"), 0));
}

function joined(directory: string, path: string): string {
  return cleanPath((path.startsWith("/") ? path : `${directory}/${path}`) as ByteString).join("/");
}

function notAnArchive(name: string, why: string): BangerError {
  return new BangerError(
    "corrupt_data",
    `Cannot find an image in ${name}: ${why}`,
    "tar:FILE reads an archive of a root file system, docker-archive:FILE what docker save writes, " +
      "oci-archive:FILE an OCI image-layout",
  );
}
