import { BangerError } from "../base/errors.ts";
import type { Files, Progress } from "../base/host.ts";
import { type ImageSourceName, parseImageSource } from "../base/image_source.ts";
import { quote } from "../base/names.ts";
import type { ContentSink, DirectoryInode } from "../base/tree.ts";
import { formatBytes, MIB } from "../base/units.ts";
import { type Decode, decodeHereWith } from "./compression/codecs.ts";
import { decompress } from "./compression/decompress.ts";
import { decodeInThread } from "./compression/threaded.ts";
import { fetchedContent, type LayerContent, localContent } from "./layer_content.ts";
import type { ImageConfig } from "./model/config.ts";
import { algorithmOf, type Digest, Digester } from "./model/digest.ts";
import type { Descriptor } from "./model/manifest.ts";
import { OCI_MANIFEST } from "./model/manifest.ts";
import type { Platform } from "./model/platform.ts";
import { parseReference } from "./model/reference.ts";
import type { CredentialFinder } from "./registry/credentials.ts";
import type { RegistrySettings } from "./registry/settings.ts";
import type { TransportHost } from "./registry/transport.ts";
import { type ReplayLimits, type ReplayTotals, TreeBuilder } from "./replay/tree_builder.ts";
import { dockerArchiveSource, ociArchiveSource } from "./sources/archive_import.ts";
import { layoutSource } from "./sources/layout_source.ts";
import { registrySource } from "./sources/registry_source.ts";
import { type ResolvedManifest, resolveManifest } from "./sources/resolve.ts";
import type { ImageSource } from "./sources/source.ts";
import type { ContentStore } from "./store/content_store.ts";
import { readFile } from "./store/read_file.ts";
import { TarReader } from "./tar/reader.ts";

const WORKER_FROM_BYTES = 4 * MIB;

export interface ImagesHost extends TransportHost {
  readonly files: Files;
}

export interface ImagesOptions {
  readonly store: ContentStore;
  readonly settings: RegistrySettings;
  readonly credentials: CredentialFinder;
  readonly limits?: Partial<ReplayLimits>;
  /** Of the bundled `compression/decompress_worker.ts`; without it, all is decompressed in this thread. */
  readonly decompressWorkerUrl?: string;
}

/** A root file system in memory, its contents in the sink that was given. */
export interface FilledTree {
  readonly root: DirectoryInode;
  /** Of the platform's manifest, or of the archive's file. */
  readonly digest: Digest;
  readonly totals: ReplayTotals;
}

/** An image that was found, not yet fetched. */
export interface FoundImage {
  /** The source in full. */
  readonly source: string;
  /** Of the platform's manifest; undefined for a plain archive, whose digest is known only when it was read. */
  readonly digest: Digest | undefined;
  /** Undefined for a plain archive. */
  readonly config: ImageConfig | undefined;
  /** Compressed, over all layers. */
  readonly sizeBytes: number;
  /** What is fetched but stored already counts too. */
  readonly layers: readonly { readonly digest: Digest; readonly sizeBytes: number }[];
  /**
   * Fetches and replays the layers in one pass, file contents into `sink`.
   *
   * @throws {BangerError} `corrupt_data` where anything is not what its digest says; whatever source and sink
   * throw; the signal's reason
   */
  fill(sink: ContentSink, progress: Progress, signal: AbortSignal): Promise<FilledTree>;
}

/** Finds images wherever they are: in registries, layouts and archives. */
export class Images {
  readonly #host: ImagesHost;
  readonly #options: ImagesOptions;

  constructor(host: ImagesHost, options: ImagesOptions) {
    this.#host = host;
    this.#options = options;
  }

  /**
   * @param name as `parseImageSource` reads it; paths must be absolute
   * @throws {BangerError} `invalid_argument`; `not_found`; `permission_denied`; `source_unavailable`;
   * `corrupt_data`
   */
  async find(name: string, platform: Platform, signal: AbortSignal): Promise<FoundImage> {
    const parsed = parseImageSource(name);
    if (parsed.kind === "tar") return await this.#findTar(absolute(parsed.path));
    const source = await this.#openSource(parsed, signal);
    const { store } = this.#options;
    const found = await resolveManifest(source, platform, (digest) => store.findBytes(digest), signal);
    if (source.place !== "host") {
      for (const [digest, bytes] of found.documents) {
        if (await store.findBytes(digest) === undefined) await store.putBytes(bytes, digest);
      }
    }
    return {
      source: source.name,
      digest: found.digest,
      config: found.config,
      sizeBytes: found.manifest.layers.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
      layers: found.manifest.layers,
      fill: async (sink, progress, signal) => {
        const documents = [...found.documents.keys(), ...found.manifest.layers.map(({ digest }) => digest)];
        using _pinned = store.pin(documents);
        await using ends = new AsyncDisposableStack();
        const content = ends.use(await this.#content(source, found.manifest.layers, signal));
        const builder = new TreeBuilder(sink, this.#options.limits);
        try {
          await replayLayers(
            content,
            found,
            builder,
            (sizeBytes) => this.#decoderFor(sizeBytes),
            progress,
            signal,
          );
        } catch (failure) {
          // A stored layer may have rotted since it was read: the next pull looks anew.
          store.doubt(found.manifest.layers.map(({ digest }) => digest));
          throw failure;
        }
        if (source.place !== "host") {
          const sizeBytes = found.documents.get(found.digest)!.length;
          await store.nameImage(source.name, { mediaType: OCI_MANIFEST, digest: found.digest, sizeBytes });
        }
        return { root: builder.root, digest: found.digest, totals: builder.totals };
      },
    };
  }

  async #openSource(
    parsed: Exclude<ImageSourceName, { kind: "tar" }>,
    signal: AbortSignal,
  ): Promise<ImageSource> {
    const { files } = this.#host;
    const { store, settings, credentials } = this.#options;
    switch (parsed.kind) {
      case "registry":
        return registrySource(this.#host, parseReference(parsed.reference), settings, credentials);
      case "oci":
        return layoutSource(files, absolute(parsed.path), parsed.choice);
      case "oci-archive":
        return await ociArchiveSource(files, store, absolute(parsed.path), parsed.choice, signal);
      case "docker-archive":
        return await dockerArchiveSource(files, store, absolute(parsed.path), parsed.choice, signal);
    }
  }

  async #content(
    source: ImageSource,
    layers: readonly Descriptor[],
    signal: AbortSignal,
  ): Promise<LayerContent> {
    if (source.place !== "remote") return localContent(source, layers, signal);
    const { store } = this.#options;
    const neededBytes = layers.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    const freeBytes = await this.#host.files.freeBytes(store.directory);
    if (neededBytes > freeBytes) {
      throw new BangerError(
        "no_space",
        `Cannot pull ${source.name}: its layers need ${formatBytes(neededBytes)}, and ${
          formatBytes(freeBytes)
        } are free`,
        "Free some space, or move XDG_CACHE_HOME",
      );
    }
    return fetchedContent(store, source, layers, signal);
  }

  /** A thread for what takes longer than starting one. */
  #decoderFor(sizeBytes: number): Decode {
    const { decompressWorkerUrl: workerUrl, store } = this.#options;
    const openScratch = () => store.openScratch();
    return workerUrl === undefined || sizeBytes < WORKER_FROM_BYTES
      ? decodeHereWith(openScratch)
      : decodeInThread(workerUrl, openScratch);
  }

  async #findTar(path: string): Promise<FoundImage> {
    const { files } = this.#host;
    const stat = await files.stat(path);
    if (stat === undefined) {
      throw new BangerError("not_found", `Cannot find ${quote(path)}: it does not exist`, "Check the path");
    }
    return {
      source: `tar:${path}`,
      digest: undefined,
      config: undefined,
      sizeBytes: stat.sizeBytes,
      layers: [],
      fill: async (sink, progress, signal) => {
        progress.stage("Unpack the archive");
        const digester = new Digester();
        const report = byteReport(progress, stat.sizeBytes);
        const input = tapped(readFile(files, path), (chunk) => {
          digester.update(chunk);
          report(chunk.length);
        });
        const builder = new TreeBuilder(sink, this.#options.limits);
        await withReader(
          decompress(input, {}, this.#decoderFor(stat.sizeBytes)),
          (reader) => builder.applyArchive(reader, signal),
        );
        return { root: builder.root, digest: digester.digest(), totals: builder.totals };
      },
    };
  }
}

function absolute(path: string): string {
  if (path.startsWith("/")) return path;
  throw new BangerError("invalid_argument", `Cannot use ${quote(path)}: it is no absolute path`);
}

/**
 * Layers one after another, bottom first, while those above still arrive: inflated, checked against their diff
 * IDs, and replayed.
 */
async function replayLayers(
  content: LayerContent,
  { manifest: { layers }, config: { diffIds } }: ResolvedManifest,
  builder: TreeBuilder,
  decoderFor: (sizeBytes: number) => Decode,
  progress: Progress,
  signal: AbortSignal,
): Promise<void> {
  const totalBytes = layers.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  const report = byteReport(progress, totalBytes);
  for (const [index, layer] of layers.entries()) {
    progress.stage(
      layers.length === 1 ? "Unpack the layer" : `Unpack layer ${index + 1} of ${layers.length}`,
    );
    const diffId = diffIds[index]!;
    const digester = new Digester(algorithmOf(diffId));
    const compressed = tapped(content.open(index), (chunk) => report(chunk.length));
    const inflated = decompress(compressed, {}, decoderFor(layer.sizeBytes));
    const tar = tapped(inflated, (chunk) => digester.update(chunk));
    await withReader(tar, (reader) => builder.applyLayer(reader, signal));
    if (digester.digest() !== diffId) {
      throw new BangerError(
        "corrupt_data",
        `Cannot use layer ${layer.digest}: its content is not what the image's configuration says (${diffId})`,
        "The image was put together wrongly: pull another tag, or tell who made it",
      );
    }
  }
}

async function withReader(
  tar: AsyncIterable<Uint8Array>,
  use: (reader: TarReader) => Promise<void>,
): Promise<void> {
  const reader = new TarReader(tar);
  try {
    await use(reader);
  } finally {
    await reader.close();
  }
}

async function* tapped(
  input: AsyncIterable<Uint8Array>,
  see: (chunk: Uint8Array) => void,
): AsyncGenerator<Uint8Array> {
  for await (const chunk of input) {
    see(chunk);
    yield chunk;
  }
}

/** At most a hundred reports. */
function byteReport(progress: Progress, totalBytes: number): (bytes: number) => void {
  let done = 0;
  let next = 0;
  return (bytes) => {
    done += bytes;
    if (done < next) return;
    next = done + totalBytes / 100;
    progress.update(done, totalBytes);
  };
}
