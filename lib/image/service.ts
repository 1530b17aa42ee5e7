import { ARCHITECTURES } from "../base/architecture.ts";
import { BangerError, reasonOf } from "../base/errors.ts";
import type { Host, Progress } from "../base/host.ts";
import { isBareName } from "../base/image_source.ts";
import { type ImageId, type ImageName, parseImageName, quote } from "../base/names.ts";
import { formatPlatform, parsePlatform } from "../oci/model/platform.ts";
import type { ImageTable } from "../store/image_table.ts";
import { imagePaths, imageRootfs, type Paths } from "../store/paths.ts";
import { type ImageRecord, imageRecordSchema } from "../store/records.ts";
import { requireUnchanged } from "../store/registered_disk.ts";
import { CATALOG, type CatalogEntry, type CatalogSource } from "./catalog.ts";
import type { Agent } from "./convert.ts";
import { Publisher, STAGING_PREFIX } from "./publish.ts";
import { Puller, type PullOptions } from "./pull.ts";
import { promoteImage, registerImage, type RegisterOptions } from "./registered.ts";
import type { RootSource } from "./root_source.ts";
import type { ImageSources, PrunedContent } from "./sources.ts";
import { verifyImage } from "./verify.ts";

type ServiceHost = Pick<Host, "files" | "processes" | "clock" | "log">;

export interface ImageServiceOptions {
  readonly paths: Pick<Paths, "imagesDirectory">;
  readonly images: Pick<
    ImageTable,
    "list" | "find" | "insert" | "update" | "remove" | "users" | "unreadable"
  >;
  /** What goes into every image that is made from now on. */
  readonly agent: Agent;
  readonly sources: ImageSources;
  /** This host's, `linux/amd64` or as its kernel calls it. */
  readonly platform: string;
  /** banger's own unless a test brings another. */
  readonly catalog?: readonly CatalogEntry[];
  readonly openRecipe?: (source: CatalogSource) => RootSource;
}

const MAX_RECORD_BYTES = 1024 * 1024;

/**
 * The images of this host: files below `images/<id>/`, a row each.
 *
 * A crash leaves at most a staging directory, or a published directory without a row: `recover` removes the one
 * and takes in the other.
 */
export class ImageService {
  readonly #host: ServiceHost;
  readonly #options: ImageServiceOptions;
  readonly #publisher: Publisher;
  readonly #puller: Puller;

  constructor(host: ServiceHost, options: ImageServiceOptions) {
    this.#host = host;
    this.#options = { ...options, platform: formatPlatform(parsePlatform(options.platform)) };
    this.#publisher = new Publisher(host, options);
    this.#puller = new Puller(host, this.#options, this.#publisher);
  }

  /** By name. */
  list(): ImageRecord[] {
    return this.#options.images.list();
  }

  /** What can be pulled by a name alone. */
  available(): readonly CatalogEntry[] {
    return this.#options.catalog ?? CATALOG;
  }

  /** @param nameOrId a name, an id, an unambiguous beginning of an id, or a reference that was pulled */
  find(nameOrId: string): ImageRecord | undefined {
    if (isBareName(nameOrId)) return this.#options.images.find(nameOrId);
    return this.#puller.findPulled(nameOrId);
  }

  /** @throws {BangerError} `not_found` with what to do */
  get(nameOrId: string): ImageRecord {
    const image = this.find(nameOrId);
    if (image) return image;
    throw new BangerError(
      "not_found",
      `Cannot find image ${quote(nameOrId)}`,
      this.available().some(({ name }) => name === nameOrId)
        ? `Get it: banger image pull ${nameOrId}`
        : "See what is there: banger image list",
    );
  }

  /** Names of the VMs made from it. */
  usersOf(image: ImageRecord): string[] {
    return this.#options.images.users(image.id);
  }

  /** The root disk of an image, which nobody writes to. */
  rootfsPath(image: Pick<ImageRecord, "id" | "external">): string {
    return imageRootfs(this.#options.paths, image);
  }

  /**
   * Makes an image of a name of the catalog, a reference or a path, unless the very same is there. What is asked
   * for twice is made once; a reference is looked up each time, since tags move.
   *
   * @throws {BangerError} `not_found` for what the catalog lacks; `no_space`; why no source could be had;
   * the signal's reason
   */
  async pull(
    text: string,
    progress: Progress,
    signal: AbortSignal,
    options: PullOptions = {},
  ): Promise<ImageRecord> {
    const isPlain = options.name === undefined && options.sizeBytes === undefined &&
      options.platform === undefined;
    const existing = isPlain && isBareName(text) ? this.find(text) : undefined;
    return existing ?? await this.#puller.pull(text, options, progress, signal);
  }

  /**
   * An image that a machine of this host can be made from: one that is here, else pulled.
   *
   * @throws {BangerError} `host_unsupported` for another processor's; `wrong_state` for a registered disk that was
   * changed; see `pull`
   */
  async ensure(text: string, progress: Progress, signal: AbortSignal): Promise<ImageRecord> {
    const image = this.find(text) ?? await this.pull(text, progress, signal);
    requireRunnable(image, this.#options.platform);
    await requireUnchanged(this.#host.files, image);
    return image;
  }

  /**
   * Makes an image of any source under a name that is free.
   *
   * @throws {BangerError} `already_exists`, `no_space`, whatever the source throws, the signal's reason
   */
  async create(
    name: ImageName,
    source: RootSource,
    progress: Progress,
    signal: AbortSignal,
  ): Promise<ImageRecord> {
    return await this.#puller.make(name, source, {}, progress, signal);
  }

  /** Takes an ext4 file of the user's as an image, where it lies. @throws {BangerError} see `registerImage` */
  async register(options: RegisterOptions, progress: Progress, signal: AbortSignal): Promise<ImageRecord> {
    return await registerImage(this.#host, this.#publisher, options, progress, signal);
  }

  /** Copies a registered image's disk to banger's own. @throws {BangerError} see `promoteImage` */
  async promote(nameOrId: string, progress: Progress, signal: AbortSignal): Promise<ImageRecord> {
    return await promoteImage(this.#host, this.#options, this.get(nameOrId), progress, signal);
  }

  /** Makes the disk once more and compares. @throws {BangerError} see `verifyImage` */
  async verify(nameOrId: string, progress: Progress, signal: AbortSignal): Promise<ImageRecord> {
    const image = this.get(nameOrId);
    await verifyImage(this.#host, this.#options, this.#publisher, image, progress, signal);
    return image;
  }

  /**
   * Removes from the content store what no image of this host was made from.
   *
   * @param all remove what they were made from too: they stay, but cannot be verified without their source
   * @throws {BangerError} `in_use` while something is pulled
   */
  async prune({ all }: { all: boolean }): Promise<PrunedContent> {
    if (this.#puller.isPulling) {
      throw new BangerError(
        "in_use",
        "Cannot prune: an image is being pulled",
        "Wait until it is there: banger image list",
      );
    }
    return await this.#options.sources.prune(all ? [] : this.list().map(({ digest }) => digest));
  }

  /** @throws {BangerError} `not_found`; `in_use` naming the VMs that are made from it */
  async remove(nameOrId: string): Promise<void> {
    const image = this.get(nameOrId);
    const users = this.usersOf(image);
    if (users.length > 0) {
      throw new BangerError(
        "in_use",
        `Cannot remove image ${image.name}: ${users.length === 1 ? "VM" : "VMs"} ${users.join(", ")} ${
          users.length === 1 ? "uses" : "use"
        } it`,
        `Remove ${users.length === 1 ? "it" : "them"} first: banger vm rm ${users.join(" ")}${
          users.some((name) => name.includes("~"))
            ? " (a name with ~ is in the trash: vm list --removed)"
            : ""
        }`,
      );
    }
    // The row goes first: a crash in between brings the image back on the next start, whole.
    this.#options.images.remove(image.id);
    const doomed = `${this.#options.paths.imagesDirectory}/${STAGING_PREFIX}${image.id}`;
    await this.#host.files.rename(imagePaths(this.#options.paths, image.id).directory, doomed);
    await this.#host.files.remove(doomed);
    this.#host.log("info", "image removed", { id: image.id, name: image.name });
  }

  /**
   * Call once at start, before anything else: removes what a crash left half-made, and takes in published
   * images that have no row (also all of them, after the database was lost). What cannot be read stays.
   */
  async recover(): Promise<void> {
    const { files, log } = this.#host;
    const { imagesDirectory } = this.#options.paths;
    const unreadable = new Set(this.#options.images.unreadable().map(({ id }) => id));
    for (const id of unreadable) await this.#mend(id);
    for (const name of await files.list(imagesDirectory)) {
      if (name.startsWith(STAGING_PREFIX)) {
        await files.remove(`${imagesDirectory}/${name}`);
        log("info", "removed an unfinished image", { name });
      } else if (/^[0-9a-f]{12}$/.test(name)) {
        const id = name as ImageId;
        if (!unreadable.has(id) && this.#options.images.find(id)?.id !== id) await this.#takeIn(id);
      }
    }
  }

  async #takeIn(id: ImageId): Promise<void> {
    const { log } = this.#host;
    try {
      const record = await this.#readRecord(id);
      this.#options.images.insert(record);
      log("info", "took in an image that had no row", { id, name: record.name });
    } catch (reason) {
      log("warn", "left an image directory alone that cannot be taken in", { id, reason: reasonOf(reason) });
    }
  }

  async #mend(id: ImageId): Promise<void> {
    const { log } = this.#host;
    try {
      const record = await this.#readRecord(id);
      this.#options.images.update(record);
      log("warn", "mended an image's row from the record beside its disk", { id, name: record.name });
    } catch (reason) {
      log("error", "an image's row cannot be read, nor the record beside its disk", {
        id,
        reason: reasonOf(reason),
      });
    }
  }

  /** The record beside an image's disk. */
  async #readRecord(id: ImageId): Promise<ImageRecord> {
    const { files } = this.#host;
    const text = await files.readText(imagePaths(this.#options.paths, id).record, MAX_RECORD_BYTES);
    const record = imageRecordSchema.parse(JSON.parse(text));
    if (record.id !== id || (await files.stat(this.rootfsPath(record))) === undefined) {
      throw new Error("the record does not belong to what lies there");
    }
    parseImageName(record.name);
    return record;
  }
}

/** By the name that OCI and Debian share. */
const RUNS: Readonly<Record<string, readonly string[]>> = Object.fromEntries(
  Object.values(ARCHITECTURES).map(({ debianName, alsoRuns }) => [debianName, [debianName, ...alsoRuns]]),
);

function requireRunnable({ name, platform }: ImageRecord, hostPlatform: string): void {
  if (platform === undefined) return;
  const host = parsePlatform(hostPlatform);
  const { os, architecture } = parsePlatform(platform);
  if (os === host.os && (RUNS[host.architecture] ?? [host.architecture]).includes(architecture)) return;
  throw new BangerError(
    "host_unsupported",
    `Cannot make a machine of image ${name}: it is for ${platform}, and this host is ${hostPlatform}`,
    `Pull it for this host: banger image pull --platform ${hostPlatform}`,
  );
}
