import { BangerError, type ErrorCode, reasonOf } from "../base/errors.ts";
import type { Host, Progress } from "../base/host.ts";
import { type ImageId, type ImageName, parseImageName, quote } from "../base/names.ts";
import { withRollback } from "../base/steps.ts";
import { formatBytes, GIB } from "../base/units.ts";
import type { ImageTable } from "../store/image_table.ts";
import { imagePaths, type Paths } from "../store/paths.ts";
import { type ImageRecord, imageRecordSchema } from "../store/records.ts";
import { CATALOG, type CatalogEntry, type CatalogSource, getCatalogEntry, openSource } from "./catalog.ts";
import { type Agent, convertToDisk } from "./convert.ts";
import type { RootSource } from "./root_source.ts";
import { SharedWork } from "./shared_work.ts";

type ServiceHost = Pick<Host, "files" | "processes" | "clock" | "log">;

export interface ImageServiceOptions {
  readonly paths: Pick<Paths, "imagesDirectory">;
  readonly images: Pick<ImageTable, "list" | "find" | "insert" | "remove" | "users">;
  /** What goes into every image that is made from now on. */
  readonly agent: Agent;
  /** banger's own unless a test brings another. */
  readonly catalog?: readonly CatalogEntry[];
  readonly openSource?: (source: CatalogSource) => RootSource;
}

const STAGING_PREFIX = ".staging-";
const MAX_RECORD_BYTES = 1024 * 1024;
/** What any image needs while it is made; less is refused before the work. */
const MIN_FREE_BYTES = 1 * GIB;
/** The source cannot be had here: the next one may. */
const TRY_NEXT: readonly ErrorCode[] = ["source_unavailable", "missing_tool", "host_unsupported"];

/**
 * The images of this host: files below `images/<id>/`, a row each.
 *
 * An image is made in a staging directory beside its place, under no lock. It appears by a rename and a row;
 * whatever fails or is cancelled before leaves nothing. A crash leaves at most a staging directory, or a
 * published directory without a row: `recover` removes the one and takes in the other.
 */
export class ImageService {
  readonly #host: ServiceHost;
  readonly #options: ImageServiceOptions;
  readonly #pulls = new SharedWork<ImageRecord>();

  constructor(host: ServiceHost, options: ImageServiceOptions) {
    this.#host = host;
    this.#options = options;
  }

  /** By name. */
  list(): ImageRecord[] {
    return this.#options.images.list();
  }

  /** @param nameOrId a name, an id, or an unambiguous beginning of an id */
  find(nameOrId: string): ImageRecord | undefined {
    return this.#options.images.find(nameOrId);
  }

  /** @throws {BangerError} `not_found` with what to do */
  get(nameOrId: string): ImageRecord {
    const image = this.find(nameOrId);
    if (image) return image;
    throw new BangerError(
      "not_found",
      `Cannot find image ${quote(nameOrId)}`,
      CATALOG.some(({ name }) => name === nameOrId)
        ? `Get it: banger image pull ${nameOrId}`
        : "See what is there: banger image list",
    );
  }

  /** Names of the VMs made from it. */
  usersOf(image: ImageRecord): string[] {
    return this.#options.images.users(image.id);
  }

  /** The immutable root disk of an image. */
  rootfsPath(image: Pick<ImageRecord, "id">): string {
    return imagePaths(this.#options.paths, image.id).rootfs;
  }

  /**
   * The image of the catalog, made where it is not there. Calls for one name share the work.
   *
   * @throws {BangerError} `not_found` for what the catalog lacks; `no_space`; why no source could be had;
   * the signal's reason
   */
  async pull(name: string, progress: Progress, signal: AbortSignal): Promise<ImageRecord> {
    const existing = this.#options.images.find(name);
    if (existing) return existing;
    const entry = getCatalogEntry(name, this.#options.catalog);
    return await this.#pulls.join(entry.name, progress, signal, async (toAll, anyWants) => {
      // It may have been published between the look above and now.
      return this.find(entry.name) ?? await this.#pullFirst(entry, toAll, anyWants);
    });
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
    this.#requireFreeName(name);
    await this.#requireFreeSpace();
    const id = newId();
    const target = imagePaths(this.#options.paths, id);
    const staging = `${this.#options.paths.imagesDirectory}/${STAGING_PREFIX}${id}`;
    const { files, clock, log } = this.#host;
    return await withRollback(
      async (step) => {
        await step(
          "make the staging directory",
          () => files.makeDirectory(staging, 0o700),
          () => files.remove(staging),
        );
        const converted = await convertToDisk(
          this.#host,
          source,
          `${staging}/rootfs.ext4`,
          this.#options.agent,
          progress,
          signal,
        );
        const record: ImageRecord = { id, name, createdAtMs: clock.now(), ...converted };
        await files.writeAtomic(`${staging}/image.json`, `${JSON.stringify(record, undefined, 2)}\n`, 0o644);
        signal.throwIfAborted();
        this.#requireFreeName(name);
        await step(
          "publish",
          () => files.rename(staging, target.directory),
          () => files.remove(target.directory),
        );
        this.#options.images.insert(record);
        log("info", "image created", { id, name, source: source.source, digest: record.digest });
        return record;
      },
      (failed, reason) =>
        log("error", "cannot undo a step of creating an image", { failed, id, reason: reasonOf(reason) }),
    );
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
        `Remove ${users.length === 1 ? "it" : "them"} first: banger vm rm ${users.join(" ")}`,
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
    for (const name of await files.list(imagesDirectory)) {
      if (name.startsWith(STAGING_PREFIX)) {
        await files.remove(`${imagesDirectory}/${name}`);
        log("info", "removed an unfinished image", { name });
      } else if (/^[0-9a-f]{12}$/.test(name) && !this.#hasRow(name)) {
        await this.#takeIn(name as ImageId);
      }
    }
  }

  #hasRow(id: string): boolean {
    return this.#options.images.find(id)?.id === id;
  }

  async #takeIn(id: ImageId): Promise<void> {
    const { files, log } = this.#host;
    const paths = imagePaths(this.#options.paths, id);
    try {
      const record = imageRecordSchema.parse(
        JSON.parse(await files.readText(paths.record, MAX_RECORD_BYTES)),
      );
      if (record.id !== id || (await files.stat(paths.rootfs)) === undefined) {
        throw new Error("the record does not belong to what lies there");
      }
      parseImageName(record.name);
      this.#options.images.insert(record);
      log("info", "took in an image that had no row", { id, name: record.name });
    } catch (reason) {
      log("warn", "left an image directory alone that cannot be taken in", { id, reason: reasonOf(reason) });
    }
  }

  async #pullFirst(entry: CatalogEntry, progress: Progress, signal: AbortSignal): Promise<ImageRecord> {
    for (const [index, source] of entry.sources.entries()) {
      try {
        const opened = this.#options.openSource?.(source) ?? openSource(source, this.#host);
        return await this.create(entry.name, opened, progress, signal);
      } catch (thrown) {
        const isLast = index === entry.sources.length - 1;
        if (isLast || !(thrown instanceof BangerError) || !TRY_NEXT.includes(thrown.code)) throw thrown;
        progress.note(`${thrown.message}; trying the next source`);
      }
    }
    throw new BangerError("internal", `Cannot pull image ${entry.name}: its catalog entry has no source`);
  }

  #requireFreeName(name: ImageName): void {
    const taken = this.#options.images.find(name);
    if (!taken) return;
    throw new BangerError(
      "already_exists",
      `Cannot create image ${name}: the name is taken`,
      `Use another name, or remove the old one: banger image rm ${name}`,
    );
  }

  async #requireFreeSpace(): Promise<void> {
    const { files } = this.#host;
    const { imagesDirectory } = this.#options.paths;
    await files.makeDirectory(imagesDirectory, 0o700);
    const freeBytes = await files.freeBytes(imagesDirectory);
    if (freeBytes >= MIN_FREE_BYTES) return;
    throw new BangerError(
      "no_space",
      `Cannot create an image: ${imagesDirectory} has ${formatBytes(freeBytes)} free`,
      `Free some: an image takes up to ${formatBytes(MIN_FREE_BYTES)}`,
    );
  }
}

/** 48 random bits: enough for one host, short enough to type. */
function newId(): ImageId {
  const bytes = crypto.getRandomValues(new Uint8Array(6));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("") as ImageId;
}
