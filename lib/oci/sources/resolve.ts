import { BangerError } from "../../base/errors.ts";
import { algorithmOf, type Digest, digestOf } from "../model/digest.ts";
import { type ImageConfig, parseConfig } from "../model/config.ts";
import { MAX_JSON_BYTES } from "../model/json.ts";
import {
  type Descriptor,
  type ImageIndex,
  type ImageManifest,
  type IndexEntry,
  isIndexType,
  isManifestType,
  parseManifest,
} from "../model/manifest.ts";
import { formatPlatform, type Platform, platformScore } from "../model/platform.ts";
import { readBounded } from "./bounded.ts";
import type { FetchedManifest, ImageSource } from "./source.ts";

/** Indexes within indexes: real images have one level. */
const MAX_DEPTH = 4;
const MAX_MANIFESTS = 32;

export interface ResolvedManifest {
  /** Of the platform's manifest: it names the image's content, whatever tag or index led to it. */
  readonly digest: Digest;
  readonly manifest: ImageManifest;
  readonly config: ImageConfig;
  /** As they were found, to be stored. */
  readonly documents: ReadonlyMap<Digest, Uint8Array>;
}

/** What is stored already, to save asking. */
export type FindStored = (digest: Digest) => Promise<Uint8Array | undefined>;

/**
 * Finds the manifest for a platform behind whatever the source's root is, and its configuration.
 *
 * @throws {BangerError} `not_found` where there is none for the platform; `corrupt_data`
 */
export async function resolveManifest(
  source: ImageSource,
  platform: Platform,
  findStored: FindStored,
  signal?: AbortSignal,
): Promise<ResolvedManifest> {
  return await new Resolver(source, platform, findStored, signal).resolve();
}

class Resolver {
  readonly #source: ImageSource;
  readonly #platform: Platform;
  readonly #findStored: FindStored;
  readonly #signal: AbortSignal | undefined;
  readonly #documents = new Map<Digest, Uint8Array>();
  /** For the message where none fits. */
  readonly #offered = new Set<string>();

  constructor(
    source: ImageSource,
    platform: Platform,
    findStored: FindStored,
    signal: AbortSignal | undefined,
  ) {
    this.#source = source;
    this.#platform = platform;
    this.#findStored = findStored;
    this.#signal = signal;
  }

  async resolve(): Promise<ResolvedManifest> {
    const found = await this.#follow(await this.#source.fetchRoot(this.#signal), 0);
    if (found !== undefined) return found;
    const offered = [...this.#offered].slice(0, 20).join(", ");
    throw new BangerError(
      "not_found",
      `Cannot use ${this.#source.name}: it has no image for ${formatPlatform(this.#platform)}`,
      offered === "" ? "It has no images at all" : `It has ${offered}`,
    );
  }

  async #follow(fetched: FetchedManifest, depth: number): Promise<ResolvedManifest | undefined> {
    this.#documents.set(fetched.digest, fetched.bytes);
    const document = parseManifest(fetched.bytes, fetched.mediaType);
    return document.kind === "index"
      ? await this.#fromIndex(document, depth)
      : await this.#withConfig(fetched.digest, document);
  }

  /** The best fitting image first; then what says nothing about its platform, indexes too. */
  async #fromIndex(index: ImageIndex, depth: number): Promise<ResolvedManifest | undefined> {
    if (depth === MAX_DEPTH) throw this.#tooNested();
    for (const entry of candidates(index, this.#platform)) {
      // Cycles end here, and so do entries that are there twice.
      if (this.#documents.has(entry.digest)) continue;
      if (this.#documents.size >= MAX_MANIFESTS) throw this.#tooNested();
      const found = await this.#follow(await this.#fetch(entry), depth + 1);
      if (found !== undefined) return found;
    }
    for (const { platform } of index.entries) {
      if (platform !== undefined && platform.os !== "unknown") this.#offered.add(formatPlatform(platform));
    }
    return undefined;
  }

  async #fetch(entry: IndexEntry): Promise<FetchedManifest> {
    const stored = await this.#findStored(entry.digest);
    const fetched = stored === undefined
      ? await this.#source.fetchManifest(entry, this.#signal)
      : { bytes: stored.slice(), mediaType: entry.mediaType, digest: entry.digest };
    checkSize(entry, fetched.bytes);
    // What the index calls it must hold too.
    if (
      fetched.mediaType !== undefined && isKnown(fetched.mediaType) && fetched.mediaType !== entry.mediaType
    ) {
      throw new BangerError(
        "corrupt_data",
        `Cannot use ${entry.digest} of ${this.#source.name}: its type is not the one that the index says`,
      );
    }
    return { ...fetched, mediaType: entry.mediaType };
  }

  async #withConfig(digest: Digest, manifest: ImageManifest): Promise<ResolvedManifest | undefined> {
    const bytes = await this.#findStored(manifest.config.digest) ?? await this.#fetchConfig(manifest.config);
    checkSize(manifest.config, bytes);
    const config = parseConfig(bytes);
    if (platformScore(config.platform, this.#platform) === undefined) {
      this.#offered.add(formatPlatform(config.platform));
      return undefined;
    }
    if (config.diffIds.length !== manifest.layers.length) {
      throw new BangerError(
        "corrupt_data",
        `Cannot use ${this.#source.name}: its manifest has ${manifest.layers.length} layers and its ` +
          `configuration ${config.diffIds.length}`,
      );
    }
    this.#documents.set(manifest.config.digest, bytes);
    return { digest, manifest, config, documents: this.#documents };
  }

  async #fetchConfig(descriptor: Descriptor): Promise<Uint8Array> {
    if (descriptor.sizeBytes > MAX_JSON_BYTES) {
      throw new BangerError(
        "corrupt_data",
        `Cannot use ${this.#source.name}: its configuration is larger than 4 MiB`,
      );
    }
    const { body } = await this.#source.openBlob(descriptor, 0, this.#signal);
    const bytes = await readBounded(body, descriptor.sizeBytes, `the configuration of ${this.#source.name}`);
    if (digestOf(bytes, algorithmOf(descriptor.digest)) !== descriptor.digest) {
      throw new BangerError(
        "corrupt_data",
        `Cannot use ${this.#source.name}: its configuration has another digest than its manifest says`,
      );
    }
    return bytes;
  }

  #tooNested(): BangerError {
    return new BangerError(
      "corrupt_data",
      `Cannot use ${this.#source.name}: its indexes are nested more than ${MAX_DEPTH} deep or name too many images`,
    );
  }
}

function isKnown(mediaType: string): boolean {
  return isIndexType(mediaType) || isManifestType(mediaType);
}

/** Entries of types that we do not know are for others (image-spec, image-index.md: MUST NOT be an error). */
function candidates(index: ImageIndex, platform: Platform): IndexEntry[] {
  const known = index.entries.filter((entry) => isKnown(entry.mediaType));
  const scored = known.flatMap((entry) => {
    if (entry.platform === undefined) return [{ entry, score: isManifestType(entry.mediaType) ? -1 : -2 }];
    const score = platformScore(entry.platform, platform);
    return score === undefined ? [] : [{ entry, score }];
  });
  return scored.toSorted((a, b) => b.score - a.score).map(({ entry }) => entry);
}

function checkSize(descriptor: Descriptor, bytes: Uint8Array): void {
  if (bytes.length === descriptor.sizeBytes) return;
  throw new BangerError(
    "corrupt_data",
    `Cannot use ${descriptor.digest}: it has ${bytes.length} bytes, not ${descriptor.sizeBytes}`,
  );
}
