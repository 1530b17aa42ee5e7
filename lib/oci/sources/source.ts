import type { Digest } from "../model/digest.ts";
import type { Descriptor } from "../model/manifest.ts";

/** A manifest or index as it was found, its digest checked. */
export interface FetchedManifest {
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** As its place says; undefined where nothing does. */
  readonly mediaType: string | undefined;
  readonly digest: Digest;
}

export interface BlobStream {
  /** A source may not know how to begin in the middle: then this is 0, whatever was asked for. */
  readonly offsetBytes: number;
  /** From there to the end, or until something breaks. Not checked. */
  readonly body: AsyncIterable<Uint8Array>;
}

/** Where an image comes from. */
export interface ImageSource {
  /** For people. */
  readonly name: string;
  /** Where its blobs lie: elsewhere, in our store, or on this host outside of it, where they are read in place. */
  readonly place: "remote" | "store" | "host";
  /** The image's index or manifest. */
  fetchRoot(signal?: AbortSignal): Promise<FetchedManifest>;
  /** One that an index names. */
  fetchManifest(descriptor: Descriptor, signal?: AbortSignal): Promise<FetchedManifest>;
  openBlob(descriptor: Descriptor, offsetBytes: number, signal?: AbortSignal): Promise<BlobStream>;
}
