import { BangerError, reasonOf } from "../base/errors.ts";
import type { Host } from "../base/host.ts";
import type { ImageId, ImageName } from "../base/names.ts";
import { withRollback } from "../base/steps.ts";
import { formatBytes, GIB } from "../base/units.ts";
import type { ImageTable } from "../store/image_table.ts";
import { imagePaths, type Paths } from "../store/paths.ts";
import type { ImageRecord } from "../store/records.ts";

export const STAGING_PREFIX = ".staging-";
/** What any image needs while it is made; less is refused before the work. */
const MIN_FREE_BYTES = 1 * GIB;

/** The name of an image to be: one that must be free, or the first free one of several. */
export type NameChoice = ImageName | (() => Iterable<ImageName>);

export interface PublisherOptions {
  readonly paths: Pick<Paths, "imagesDirectory">;
  readonly images: Pick<ImageTable, "find" | "insert">;
}

/**
 * Makes images appear: in a staging directory beside their place, under no lock, then by a rename and a row.
 * Whatever fails or is cancelled before leaves nothing.
 */
export class Publisher {
  readonly #host: Pick<Host, "files" | "clock" | "log">;
  readonly #options: PublisherOptions;
  /** Names of images that are about to appear. */
  readonly #publishing = new Set<ImageName>();

  constructor(host: Pick<Host, "files" | "clock" | "log">, options: PublisherOptions) {
    this.#host = host;
    this.#options = options;
  }

  /**
   * @param make fills the staging directory
   * @throws {BangerError} `already_exists`, `no_space`, whatever `make` throws, the signal's reason
   */
  async publish(
    choice: NameChoice,
    signal: AbortSignal,
    make: (staging: string) => Promise<Omit<ImageRecord, "id" | "name" | "createdAtMs">>,
  ): Promise<ImageRecord> {
    this.#chooseName(choice);
    const id = newId();
    const target = imagePaths(this.#options.paths, id);
    const { files, clock, log } = this.#host;
    return await withRollback(
      async (step) => {
        const staging = await step(
          "make the staging directory",
          () => this.makeStaging(id),
          (path) => files.remove(path),
        );
        const made = await make(staging);
        signal.throwIfAborted();
        // Checked again: meanwhile others have published. From here to the row nobody else gets it.
        const name = this.#chooseName(choice);
        this.#publishing.add(name);
        try {
          const record: ImageRecord = { id, name, createdAtMs: clock.now(), ...made };
          await writeImageRecord(files, `${staging}/image.json`, record);
          await step(
            "publish",
            () => files.rename(staging, target.directory),
            () => files.remove(target.directory),
          );
          this.#options.images.insert(record);
          log("info", "image created", { id, name, source: record.source, digest: record.digest });
          return record;
        } finally {
          this.#publishing.delete(name);
        }
      },
      (failed, reason) =>
        log("error", "cannot undo a step of creating an image", { failed, id, reason: reasonOf(reason) }),
    );
  }

  /** @returns the path of a new directory that a crash's clean-up knows */
  async makeStaging(id: string): Promise<string> {
    const { imagesDirectory } = this.#options.paths;
    await this.#host.files.makeDirectory(imagesDirectory, 0o700);
    await this.#requireFreeSpace();
    const staging = `${imagesDirectory}/${STAGING_PREFIX}${id}`;
    await this.#host.files.makeDirectory(staging, 0o700);
    return staging;
  }

  #chooseName(choice: NameChoice): ImageName {
    if (typeof choice === "string") {
      if (this.#isFree(choice)) return choice;
      throw nameTaken(choice);
    }
    for (const name of choice()) if (this.#isFree(name)) return name;
    throw new BangerError("internal", "Cannot create an image: none of its names is free");
  }

  #isFree(name: ImageName): boolean {
    return !this.#publishing.has(name) && this.#options.images.find(name) === undefined;
  }

  async #requireFreeSpace(): Promise<void> {
    const { imagesDirectory } = this.#options.paths;
    const freeBytes = await this.#host.files.freeBytes(imagesDirectory);
    if (freeBytes >= MIN_FREE_BYTES) return;
    throw new BangerError(
      "no_space",
      `Cannot create an image: ${imagesDirectory} has ${formatBytes(freeBytes)} free`,
      `Free some: an image takes up to ${formatBytes(MIN_FREE_BYTES)}`,
    );
  }
}

/** The file beside the disk that a lost database is made from again. */
export async function writeImageRecord(
  files: Pick<Host["files"], "writeAtomic">,
  path: string,
  record: ImageRecord,
): Promise<void> {
  await files.writeAtomic(path, `${JSON.stringify(record, undefined, 2)}\n`, 0o644);
}

function nameTaken(name: ImageName): BangerError {
  return new BangerError(
    "already_exists",
    `Cannot create image ${name}: the name is taken`,
    `Use another name, or remove the old one: banger image rm ${name}`,
  );
}

/** 48 random bits: enough for one host, short enough to type. */
export function newId(): ImageId {
  const bytes = crypto.getRandomValues(new Uint8Array(6));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("") as ImageId;
}
