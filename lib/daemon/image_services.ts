import type { CatalogEntryView, ImageView } from "../api/contract.ts";
import type { Operations, Work } from "../api/operations.ts";
import type { Services } from "../api/services.ts";
import { formatSource } from "../image/catalog.ts";
import type { PullOptions } from "../image/pull.ts";
import type { RegisterOptions } from "../image/registered.ts";
import type { ImageService } from "../image/service.ts";
import type { ImageRecord } from "../store/records.ts";

/** The API's image service over the room that does the work. */
export function imageServices(
  { operations, images }: { readonly operations: Operations; readonly images: ImageService },
): Services["images"] {
  const begin = (kind: string, work: (...args: Parameters<Work>) => Promise<ImageRecord>) =>
    operations.begin(kind, async (progress, signal) => (await work(progress, signal)).name);
  const view = (image: ImageRecord) => imageView(image, images.usersOf(image));
  return {
    list: () => Promise.resolve(images.list().map(view)),
    get: (nameOrId) => Promise.resolve().then(() => view(images.get(nameOrId))),
    available: () =>
      images.available().map(({ name, summary, sources }): CatalogEntryView => ({
        name,
        summary,
        sources: sources.map(formatSource),
        isPulled: images.find(name) !== undefined,
      })),
    pull({ image, ...options }) {
      return begin(
        "image pull",
        (progress, signal) => images.pull(image, progress, signal, present<PullOptions>(options)),
      );
    },
    register(request) {
      return begin(
        "image register",
        (progress, signal) => images.register(present<RegisterOptions>(request), progress, signal),
      );
    },
    promote(nameOrId) {
      const { name } = images.get(nameOrId);
      return begin("image promote", (progress, signal) => images.promote(name, progress, signal));
    },
    verify(nameOrId) {
      const { name } = images.get(nameOrId);
      return begin("image verify", (progress, signal) => images.verify(name, progress, signal));
    },
    async prune(options) {
      const { blobs, sizeBytes } = await images.prune(options);
      return { blobs, freedBytes: sizeBytes };
    },
    remove: (nameOrId) => images.remove(nameOrId),
  };
}

function imageView(image: ImageRecord, usedBy: string[]): ImageView {
  const { createdAtMs, config, external, requestedSizeBytes: _size, ...rest } = image;
  return {
    ...rest,
    createdAt: new Date(createdAtMs).toISOString(),
    user: config.user || "root",
    workingDirectory: config.workingDirectory || "/root",
    command: [...config.entrypoint, ...config.command],
    usedBy,
    ...(external === undefined ? {} : { externalPath: external.path }),
  };
}

/** A request's absent fields are undefined; options lack them. */
function present<T extends object>(fields: { [Key in keyof T]: T[Key] | undefined }): T {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as T;
}
