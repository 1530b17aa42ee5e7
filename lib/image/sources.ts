import type { Host } from "../base/host.ts";
import type { HttpClient } from "../base/http.ts";
import { type FoundImage, Images } from "../oci/images.ts";
import type { Digest } from "../oci/model/digest.ts";
import type { Platform } from "../oci/model/platform.ts";
import { storedCredentials } from "../oci/registry/credentials.ts";
import type { RegistrySettings } from "../oci/registry/settings.ts";
import { ContentStore } from "../oci/store/content_store.ts";

/** What a prune took away. */
export interface PrunedContent {
  readonly blobs: number;
  readonly sizeBytes: number;
}

/** Where images come from: registries, layouts, archives, and the content store that remembers them. */
export interface ImageSources {
  /**
   * @param text as `parseImageSource` reads it, paths absolute
   * @throws {BangerError} see `Images.find`
   */
  find(text: string, platform: Platform, signal: AbortSignal): Promise<FoundImage>;
  /** What is all in the content store. @throws {BangerError} `not_found` where it is not */
  findStored(digest: string, platform: Platform, signal: AbortSignal): Promise<FoundImage>;
  /** Removes what these manifests do not need. */
  prune(keep: readonly string[]): Promise<PrunedContent>;
}

export interface OciSourcesOptions {
  /** Of the content store. */
  readonly directory: string;
  /** Read anew for each look-up, so that a change counts at once. */
  readonly settings: () => Promise<RegistrySettings>;
  /** Reads an environment variable: where credentials lie. */
  readonly variable: (name: string) => string | undefined;
  readonly decompressWorkerUrl?: string;
}

type SourcesHost = Pick<Host, "files" | "clock" | "processes"> & {
  readonly http: HttpClient;
  readonly random: () => number;
};

/** The real ones. The store is opened when it is first needed. */
export class OciSources implements ImageSources, AsyncDisposable {
  readonly #host: SourcesHost;
  readonly #options: OciSourcesOptions;
  #store: Promise<ContentStore & AsyncDisposable> | undefined;

  constructor(host: SourcesHost, options: OciSourcesOptions) {
    this.#host = host;
    this.#options = options;
  }

  /** Call at start: removes what a crash left of downloads. */
  async cleanUp(): Promise<void> {
    await ContentStore.cleanUp(this.#host, this.#options.directory);
  }

  async find(text: string, platform: Platform, signal: AbortSignal): Promise<FoundImage> {
    const { settings, variable, decompressWorkerUrl } = this.#options;
    const images = new Images(this.#host, {
      store: await this.#openStore(),
      settings: await settings(),
      credentials: storedCredentials(this.#host, variable),
      ...(decompressWorkerUrl === undefined ? {} : { decompressWorkerUrl }),
    });
    return await images.find(text, platform, signal);
  }

  findStored(digest: string, platform: Platform, signal: AbortSignal): Promise<FoundImage> {
    // The store is an image-layout like any other.
    return this.find(`oci:${this.#options.directory}:${digest}`, platform, signal);
  }

  async prune(keep: readonly string[]): Promise<PrunedContent> {
    return await (await this.#openStore()).prune(keep as readonly Digest[]);
  }

  /** A failure to open is not kept: the next who needs it tries again. */
  #openStore(): Promise<ContentStore & AsyncDisposable> {
    const opening = this.#store ?? ContentStore.open(this.#host, this.#options.directory);
    this.#store = opening;
    opening.catch(() => this.#store = undefined);
    return opening;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const store = this.#store;
    this.#store = undefined;
    if (store) await (await store)[Symbol.asyncDispose]();
  }
}
