/** Images from real places, filled into a sink that hashes. */
import { ANONYMOUS } from "../../../lib/oci/registry/credentials.ts";
import { SOURCE_WORKER_URL } from "../../../lib/oci/compression/threaded.ts";
import { Images } from "../../../lib/oci/images.ts";
import { parsePlatform } from "../../../lib/oci/model/platform.ts";
import { NO_REGISTRY_SETTINGS, type RegistrySettings } from "../../../lib/oci/registry/settings.ts";
import { ContentStore } from "../../../lib/oci/store/content_store.ts";
import { realHost } from "../../../lib/sys/host.ts";
import { systemHttpClient } from "../../../lib/sys/http.ts";
import { libc } from "../../../lib/sys/libc.ts";
import { hashingSink, type Listing, listTree } from "./listing.ts";

// Opened once and for good by whoever locks a file first: here, so that no test seems to leak it.
libc();

export const SILENT = { stage: () => {}, update: () => {}, note: () => {} };

/** Everything that finding images needs, with a store in a directory. */
export async function openImages(storeDirectory: string, settings: RegistrySettings = NO_REGISTRY_SETTINGS) {
  const host = realHost();
  const ends = new AsyncDisposableStack();
  const http = ends.use(systemHttpClient());
  const store = ends.use(await ContentStore.open(host, storeDirectory));
  const images = new Images({ ...host, http, random: Math.random }, {
    store,
    settings,
    credentials: ANONYMOUS,
    decompressWorkerUrl: SOURCE_WORKER_URL,
  });
  return { images, store, [Symbol.asyncDispose]: () => ends.disposeAsync() };
}

/** Pulls an image and lists its tree. */
export async function pullListing(
  storeDirectory: string,
  source: string,
  platform = "amd64",
): Promise<{ listing: Listing; digest: string }> {
  await using opened = await openImages(storeDirectory);
  const { signal } = new AbortController();
  const found = await opened.images.find(source, parsePlatform(platform), signal);
  const { root, digest } = await found.fill(hashingSink(), SILENT, signal);
  return { listing: listTree(root, ({ content }) => content.token as string), digest };
}
