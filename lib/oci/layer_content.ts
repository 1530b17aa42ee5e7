import { BangerError } from "../base/errors.ts";
import { algorithmOf, Digester } from "./model/digest.ts";
import type { Descriptor } from "./model/manifest.ts";
import type { ImageSource } from "./sources/source.ts";
import type { BlobDownload } from "./store/blob_download.ts";
import type { ContentStore } from "./store/content_store.ts";

/** As Docker and containerd have it: more gain little and annoy registries. */
const PARALLEL_DOWNLOADS = 3;

/** The compressed bytes of an image's layers. Each stream ends only if its content was right. */
export interface LayerContent extends AsyncDisposable {
  /** Chunks are valid until the next is asked for. */
  open(index: number): AsyncIterable<Uint8Array>;
  /** Over all layers, as far as they have arrived. */
  arrivedBytes(): number;
}

/** Layers that lie on this host, read in place and checked while they are. */
export function localContent(
  source: ImageSource,
  layers: readonly Descriptor[],
  signal: AbortSignal,
): LayerContent {
  return {
    async *open(index) {
      const layer = layers[index]!;
      const { body } = await source.openBlob(layer, 0, signal);
      yield* checked(body, layer);
    },
    arrivedBytes: () => layers.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}

/** Passes bytes on; the end is an error unless size and digest were right. */
async function* checked(
  body: AsyncIterable<Uint8Array>,
  { digest, sizeBytes }: Descriptor,
): AsyncGenerator<Uint8Array> {
  const digester = new Digester(algorithmOf(digest));
  let length = 0;
  for await (const chunk of body) {
    length += chunk.length;
    if (length > sizeBytes) break;
    digester.update(chunk);
    yield chunk;
  }
  if (length !== sizeBytes) {
    throw new BangerError(
      "corrupt_data",
      `Cannot use ${digest}: it does not have the ${sizeBytes} bytes it should`,
    );
  }
  if (digester.digest() !== digest) {
    throw new BangerError("corrupt_data", `Cannot use ${digest}: its content has another digest`);
  }
}

/**
 * Layers that come through the store: what is there and right is taken from it, the others are downloaded, the
 * lowest first, a few at a time, and can be read while they arrive. Begins at once.
 *
 * Disposing it ends what is still under way, unless another pull shares it.
 */
export function fetchedContent(
  store: ContentStore,
  source: ImageSource,
  layers: readonly Descriptor[],
  signal: AbortSignal,
): LayerContent {
  const slots = layers.map(() => Promise.withResolvers<() => AsyncIterable<Uint8Array>>());
  const downloads: (BlobDownload | "stored" | undefined)[] = layers.map(() => undefined);
  const parts = new AsyncDisposableStack();
  const closed = Promise.withResolvers<void>();
  let next = 0;
  let isClosed = false;

  const fetchOne = async (index: number) => {
    const layer = layers[index]!;
    if (await store.verify(layer)) {
      downloads[index] = "stored";
      slots[index]!.resolve(() => store.read(layer));
      return;
    }
    if (isClosed) return;
    const download = store.download(layer, (...wanted) => source.openBlob(...wanted));
    parts.use(download.join());
    downloads[index] = download;
    slots[index]!.resolve(() => download.read(signal));
    // Its failure reaches whoever reads it; here it only ends the turn. Others may keep it going when we leave.
    await Promise.race([Promise.allSettled([download.done]), closed.promise]);
  };
  const work = async () => {
    for (let index = next++; index < layers.length && !isClosed; index = next++) {
      try {
        await fetchOne(index);
      } catch (failure) {
        slots[index]!.reject(failure);
      }
    }
  };
  for (const { promise } of slots) promise.catch(() => {});
  const working = Promise.all(Array.from({ length: PARALLEL_DOWNLOADS }, work));

  return {
    async *open(index) {
      yield* (await slots[index]!.promise)();
    },
    arrivedBytes: () =>
      downloads.reduce<number>((sum, download, index) => {
        if (download === undefined) return sum;
        return sum + (download === "stored" ? layers[index]!.sizeBytes : download.writtenBytes);
      }, 0),
    [Symbol.asyncDispose]: async () => {
      isClosed = true;
      closed.resolve();
      await parts.disposeAsync();
      await working;
    },
  };
}
