/** Images from real places, made into disks. */
import { FilesystemWriter } from "../../../lib/ext4/writer.ts";
import { ANONYMOUS } from "../../../lib/oci/registry/credentials.ts";
import { SOURCE_WORKER_URL } from "../../../lib/oci/compression/threaded.ts";
import { Images } from "../../../lib/oci/images.ts";
import { parsePlatform } from "../../../lib/oci/model/platform.ts";
import { NO_REGISTRY_SETTINGS, type RegistrySettings } from "../../../lib/oci/registry/settings.ts";
import { ContentStore } from "../../../lib/oci/store/content_store.ts";
import { realHost } from "../../../lib/sys/host.ts";
import { systemHttpClient } from "../../../lib/sys/http.ts";
import { libc } from "../../../lib/sys/libc.ts";
import { listDisk } from "./disk_listing.ts";
import type { Listing } from "./listing.ts";
import { temporaryDirectory } from "./tools.ts";

// Opened once and for good by whoever locks a file first: here, so that no test seems to leak it.
libc();

const SILENT = { stage: () => {}, update: () => {}, note: () => {} };

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

/** Pulls an image to a new ext4 disk, without banger's own files. @returns its digest */
export async function pullToDisk(
  storeDirectory: string,
  source: string,
  path: string,
  { platform = "amd64", sizeBytes }: { readonly platform?: string; readonly sizeBytes?: number } = {},
): Promise<string> {
  await using opened = await openImages(storeDirectory);
  const { signal } = new AbortController();
  const found = await opened.images.find(source, parsePlatform(platform), signal);
  await using disk = await realHost().files.open(path, { read: true, write: true, createNew: true });
  await using writer = await FilesystemWriter.create(disk, {
    uuid: new Uint8Array(16).fill(7),
    timestamp: { seconds: 1_700_000_000, nanoseconds: 0 },
    ...(sizeBytes === undefined ? {} : { sizeBytes }),
  });
  const { root, digest } = await found.fill(writer, SILENT, signal);
  await writer.finish(root);
  return digest;
}

/** Pulls an image, and lists the tree that is on its disk; e2fsck finds nothing wrong with that. */
export async function pullListing(
  storeDirectory: string,
  source: string,
  platform?: string,
): Promise<{ listing: Listing; digest: string }> {
  await using directory = await temporaryDirectory();
  const disk = `${directory.path}/disk.ext4`;
  const digest = await pullToDisk(storeDirectory, source, disk, platform === undefined ? {} : { platform });
  return { listing: await listDisk(disk), digest };
}
