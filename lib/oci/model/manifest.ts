import { BangerError } from "../../base/errors.ts";
import { quote } from "../../base/names.ts";
import { type Digest, parseDigest } from "./digest.ts";
import { type Json, JsonReader, parseJson } from "./json.ts";
import type { Platform } from "./platform.ts";

export const OCI_INDEX = "application/vnd.oci.image.index.v1+json";
export const OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json";
export const OCI_CONFIG = "application/vnd.oci.image.config.v1+json";
export const OCI_LAYER = "application/vnd.oci.image.layer.v1.tar";
const DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json";

/** In the order of preference, for an Accept header. */
export const MANIFEST_MEDIA_TYPES: readonly string[] = [
  OCI_INDEX,
  OCI_MANIFEST,
  DOCKER_LIST,
  DOCKER_MANIFEST,
];
const INDEX_TYPES: ReadonlySet<string> = new Set([OCI_INDEX, DOCKER_LIST]);
const MANIFEST_TYPES: ReadonlySet<string> = new Set([OCI_MANIFEST, DOCKER_MANIFEST]);
/** What a layer may be; how it is compressed is seen from its bytes. */
const LAYER_TYPE =
  /^application\/vnd\.(?:oci\.image\.layer(?:\.nondistributable)?\.v1\.tar|docker\.image\.rootfs\.(?:foreign\.)?diff\.tar)(?:[+.](?:gzip|zstd))?$/;

const MAX_INDEX_ENTRIES = 1000;
/** overlayfs, and so every container engine, takes fewer. */
const MAX_LAYERS = 512;
const MAX_MEDIA_TYPE_LENGTH = 255;

export interface Descriptor {
  readonly mediaType: string;
  readonly digest: Digest;
  readonly sizeBytes: number;
}

export interface IndexEntry extends Descriptor {
  readonly platform: Platform | undefined;
  readonly annotations: ReadonlyMap<string, string>;
}

export interface ImageIndex {
  readonly kind: "index";
  readonly entries: readonly IndexEntry[];
}

export interface ImageManifest {
  readonly kind: "manifest";
  readonly config: Descriptor;
  readonly layers: readonly Descriptor[];
}

export function isIndexType(mediaType: string): boolean {
  return INDEX_TYPES.has(mediaType);
}

export function isManifestType(mediaType: string): boolean {
  return MANIFEST_TYPES.has(mediaType);
}

/**
 * Parses an index or a manifest, of OCI or Docker's schema 2.
 *
 * @param statedType what the descriptor or the registry's Content-Type says it is, where one does
 * @throws {BangerError} `corrupt_data` for what is neither or could be read as both; `invalid_argument` for
 * formats that are recognised but not read
 * Source: OCI image-spec, manifest.md and image-index.md
 */
export function parseManifest(bytes: Uint8Array, statedType: string | undefined): ImageIndex | ImageManifest {
  const what = "an image manifest";
  const reader = new JsonReader(parseJson(bytes, what), what);
  if (reader.getCount("schemaVersion") === 1) throw schema1();
  const mediaType = reader.findString("mediaType");
  const known = [mediaType, statedType].filter((type): type is string =>
    type !== undefined && (isIndexType(type) || isManifestType(type))
  );
  if (mediaType !== undefined && !known.includes(mediaType)) {
    throw reader.fail(`its media type ${quote(mediaType)} is not an image's`);
  }
  if (known.length === 2 && known[0] !== known[1]) {
    throw reader.fail("its media type is not the one it was given as");
  }
  if (reader.has("manifests") && (reader.has("layers") || reader.has("config"))) {
    throw reader.fail("it could be read as an index and as a manifest");
  }
  const isIndex = reader.has("manifests");
  if (known.some((type) => isIndexType(type) !== isIndex)) {
    throw reader.fail("its content does not fit its media type");
  }
  return isIndex ? parseIndex(reader) : parseImageManifest(reader);
}

function schema1(): BangerError {
  return new BangerError(
    "invalid_argument",
    "Cannot use the image: its manifest has Docker's schema 1, which registries dropped years ago",
    "Push the image again with a current tool",
  );
}

function parseIndex(reader: JsonReader): ImageIndex {
  const entries = reader.findArray("manifests", MAX_INDEX_ENTRIES);
  if (entries === undefined) throw reader.fail("it has no manifests");
  return { kind: "index", entries: entries.map(parseIndexEntry) };
}

function parseIndexEntry(value: Json): IndexEntry {
  const what = "an entry of an image index";
  const reader = new JsonReader(value, what);
  const platform = reader.findObject("platform");
  return {
    ...parseDescriptor(reader),
    platform: platform && {
      os: platform.findString("os") ?? "",
      architecture: platform.findString("architecture") ?? "",
      variant: platform.findString("variant"),
    },
    annotations: reader.findTexts("annotations"),
  };
}

function parseImageManifest(reader: JsonReader): ImageManifest {
  const config = reader.findObject("config");
  const layers = reader.findArray("layers", MAX_LAYERS);
  if (config === undefined || layers === undefined) throw reader.fail("it has no config or no layers");
  return {
    kind: "manifest",
    config: parseDescriptor(config),
    layers: layers.map((layer) => parseLayer(new JsonReader(layer, "a layer of an image manifest"))),
  };
}

function parseLayer(reader: JsonReader): Descriptor {
  const descriptor = parseDescriptor(reader);
  if (LAYER_TYPE.test(descriptor.mediaType)) return descriptor;
  throw new BangerError(
    "invalid_argument",
    `Cannot use the image: its layer of type ${quote(descriptor.mediaType)} is no file system layer`,
    "It may be something else that is kept in a registry, such as a chart or a signature",
  );
}

/** `urls` are left out on purpose: content comes from the registry that was asked, never from elsewhere. */
function parseDescriptor(reader: JsonReader): Descriptor {
  const mediaType = reader.getString("mediaType");
  if (mediaType.length > MAX_MEDIA_TYPE_LENGTH) throw reader.fail("its media type is too long");
  return { mediaType, digest: parseDigest(reader.getString("digest")), sizeBytes: reader.getCount("size") };
}
