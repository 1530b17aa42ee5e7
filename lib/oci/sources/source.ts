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
  /** Blobs lie on this host already: there is no need to copy them before they are used. */
  readonly isLocal: boolean;
  /** The image's index or manifest. */
  fetchRoot(signal?: AbortSignal): Promise<FetchedManifest>;
  /** One that an index names. */
  fetchManifest(descriptor: Descriptor, signal?: AbortSignal): Promise<FetchedManifest>;
  openBlob(descriptor: Descriptor, offsetBytes: number, signal?: AbortSignal): Promise<BlobStream>;
}
