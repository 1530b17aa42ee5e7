import { BangerError, type ErrorCode } from "../base/errors.ts";
import type { Host, Progress } from "../base/host.ts";
import { isBareName, parseImageRequest, parseImageSource } from "../base/image_source.ts";
import type { ImageName } from "../base/names.ts";
import { eitherSignal } from "../base/signals.ts";
import { MIB } from "../base/units.ts";
import type { FoundImage } from "../oci/images.ts";
import { Digester } from "../oci/model/digest.ts";
import { formatPlatform, parsePlatform, type Platform } from "../oci/model/platform.ts";
import { formatReference, parseReference } from "../oci/model/reference.ts";
import { readFile } from "../oci/store/read_file.ts";
import type { ImageTable } from "../store/image_table.ts";
import { imagePaths, type Paths } from "../store/paths.ts";
import type { ImageRecord } from "../store/records.ts";
import { type CatalogEntry, type CatalogSource, getCatalogEntry, openRecipe } from "./catalog.ts";
import { type Agent, convertToDisk } from "./convert.ts";
import { localName, nameCandidates } from "./local_name.ts";
import { ociRoot } from "./oci_root.ts";
import { type NameChoice, type Publisher, writeImageRecord } from "./publish.ts";
import type { RootSource } from "./root_source.ts";
import { SharedWork } from "./shared_work.ts";
import type { ImageSources } from "./sources.ts";

export interface PullOptions {
  /** Default: derived from the source. */
  readonly name?: ImageName;
  /** `os/architecture[/variant]`; default: this host's. */
  readonly platform?: string;
  /** Of the disk; default: the content and a quarter, at least 1 GiB. */
  readonly sizeBytes?: number;
}

export interface PullerOptions {
  readonly paths: Pick<Paths, "imagesDirectory">;
  readonly images: Pick<ImageTable, "list" | "find" | "update">;
  readonly agent: Agent;
  readonly sources: ImageSources;
  /** This host's. */
  readonly platform: string;
  readonly catalog?: readonly CatalogEntry[] | undefined;
  /** banger's own unless a test brings others. */
  readonly openRecipe?: ((source: CatalogSource) => RootSource) | undefined;
}

/** The source cannot be had here: the next one may. */
const TRY_NEXT: readonly ErrorCode[] = [
  "source_unavailable",
  "missing_tool",
  "host_unsupported",
  "permission_denied",
  "not_found",
];
/** A registry that does not answer must not keep the next source waiting. */
const LOOK_UP_TIMEOUT_MS = 15_000;
/** The only or last one may be slow and ask for patience, but not without end: nobody knows what it waits for. */
const LAST_LOOK_UP_TIMEOUT_MS = 120_000;

/** What makes two pulls the same, whatever name the image was asked for by. */
interface Wanted {
  readonly digest: string;
  readonly platform: string;
  readonly sizeBytes: number | undefined;
}

/** Turns names of the catalog, references and paths into images. The same work is done once. */
export class Puller {
  readonly #host: Pick<Host, "files" | "processes" | "clock">;
  readonly #options: PullerOptions;
  readonly #publisher: Publisher;
  readonly #pulls = new SharedWork<ImageRecord>();
  #running = 0;

  constructor(
    host: Pick<Host, "files" | "processes" | "clock">,
    options: PullerOptions,
    publisher: Publisher,
  ) {
    this.#host = host;
    this.#options = options;
    this.#publisher = publisher;
  }

  get isPulling(): boolean {
    return this.#running > 0;
  }

  /** @throws {BangerError} `not_found` for a bare name that the catalog lacks; whatever its source throws */
  async pull(
    text: string,
    options: PullOptions,
    progress: Progress,
    signal: AbortSignal,
  ): Promise<ImageRecord> {
    this.#running++;
    try {
      parseImageRequest(text);
      if (!isBareName(text)) {
        return await this.#pullSource(text, LAST_LOOK_UP_TIMEOUT_MS, options, progress, signal);
      }
      return await this.#pullEntry(
        getCatalogEntry(text, this.#options.catalog),
        options,
        progress,
        signal,
      );
    } finally {
      this.#running--;
    }
  }

  /**
   * What was pulled by a reference before, for this host; the newest. Nobody is asked whether the reference now
   * leads elsewhere. Paths are looked at anew each time: that is quick.
   *
   * @throws {BangerError} `invalid_argument` for a reference that is none
   */
  findPulled(text: string): ImageRecord | undefined {
    const parsed = parseImageSource(text);
    if (parsed.kind !== "registry" || isBareName(text)) return undefined;
    const source = formatReference(parseReference(parsed.reference));
    return this.#options.images.list()
      .filter((image) => image.source === source || image.aliases?.includes(source))
      .filter(({ platform }) => platform === this.#options.platform)
      .toSorted((a, b) => b.createdAtMs - a.createdAtMs)[0];
  }

  /** Makes a disk of a source under a name. */
  async make(
    choice: NameChoice,
    source: RootSource,
    more: Pick<ImageRecord, "platform" | "requestedSizeBytes">,
    progress: Progress,
    signal: AbortSignal,
  ): Promise<ImageRecord> {
    return await this.#publisher.publish(choice, signal, async (staging) => ({
      ...await convertToDisk(
        this.#host,
        source,
        `${staging}/rootfs.ext4`,
        this.#options.agent,
        progress,
        signal,
      ),
      ...more,
    }));
  }

  async #pullEntry(
    entry: CatalogEntry,
    options: PullOptions,
    progress: Progress,
    signal: AbortSignal,
  ): Promise<ImageRecord> {
    const name = options.name ?? entry.name;
    const key = JSON.stringify([name, entry.name, options.platform, options.sizeBytes]);
    return await this.#pulls.join(key, progress, signal, async (toAll, anyWants) => {
      // It may have been published between the caller's look and now.
      const published = name === entry.name ? this.#options.images.find(name) : undefined;
      return published ?? await this.#pullFirst(entry, { ...options, name }, toAll, anyWants);
    });
  }

  async #pullFirst(
    entry: CatalogEntry,
    options: PullOptions & { readonly name: ImageName },
    progress: Progress,
    signal: AbortSignal,
  ): Promise<ImageRecord> {
    const failures: BangerError[] = [];
    for (const [index, source] of entry.sources.entries()) {
      const isLast = index === entry.sources.length - 1;
      try {
        if (source.kind === "oci") {
          const timeoutMs = isLast ? LAST_LOOK_UP_TIMEOUT_MS : LOOK_UP_TIMEOUT_MS;
          return await this.#pullSource(source.reference, timeoutMs, options, progress, signal);
        }
        const recipe = this.#options.openRecipe?.(source) ?? openRecipe(source, this.#host);
        return await this.make(options.name, sized(recipe, options.sizeBytes), {}, progress, signal);
      } catch (thrown) {
        if (!(thrown instanceof BangerError) || !TRY_NEXT.includes(thrown.code)) throw thrown;
        failures.push(thrown);
        if (isLast) throw noSource(entry.name, failures);
        progress.note(`${thrown.message}; trying the next source`);
      }
    }
    throw new BangerError("internal", `Cannot pull image ${entry.name}: its catalog entry has no source`);
  }

  async #pullSource(
    text: string,
    timeoutMs: number,
    options: PullOptions,
    progress: Progress,
    signal: AbortSignal,
  ): Promise<ImageRecord> {
    const platform = parsePlatform(options.platform ?? this.#options.platform);
    progress.stage(`Look up ${text}`);
    const found = await this.#find(text, platform, timeoutMs, signal);
    const parsed = parseImageSource(text);
    // A tag of a path is a part of where it came from.
    const source = parsed.kind === "registry" ? found.source : text;
    const digest = found.digest ?? await this.#digestOfFile(found, progress, signal);
    const sizeBytes = options.sizeBytes === undefined ? undefined : Math.ceil(options.sizeBytes / MIB) * MIB;
    const wanted: Wanted = { digest, platform: formatPlatform(platform), sizeBytes };
    const image = this.#findSame(wanted, options.name) ??
      await this.#pulls.join(
        JSON.stringify([wanted, options.name]),
        progress,
        signal,
        async (all, anyWants) => {
          const choice = options.name ?? (() => nameCandidates(localName(text), digest));
          const more = {
            platform: wanted.platform,
            ...(sizeBytes === undefined ? {} : { requestedSizeBytes: sizeBytes }),
          };
          const root = sized({ ...ociRoot(found, digest), source }, sizeBytes);
          return this.#findSame(wanted, options.name) ?? await this.make(choice, root, more, all, anyWants);
        },
      );
    return await this.#alsoKnownAs(image, source);
  }

  async #find(
    text: string,
    platform: Platform,
    timeoutMs: number,
    signal: AbortSignal,
  ): Promise<FoundImage> {
    const { sources } = this.#options;
    // What lies on this host is read, maybe for minutes, before it is known.
    if (parseImageSource(text).kind !== "registry") return await sources.find(text, platform, signal);
    const timeout = new AbortController();
    using ends = eitherSignal(signal, timeout.signal);
    const finding = sources.find(text, platform, ends.signal);
    const done = new AbortController();
    const timer = this.#host.clock.sleep(timeoutMs, done.signal).then(
      () =>
        timeout.abort(
          new BangerError(
            "source_unavailable",
            `Cannot look up ${text}: there was no answer within ${timeoutMs / 1000} s`,
            "Check the network",
          ),
        ),
      () => {}, // it was quick enough
    );
    try {
      return await finding;
    } finally {
      done.abort();
      await timer;
    }
  }

  /** Of a plain archive, whose name is all that is known of it: the same bytes are the same image wherever they lie. */
  async #digestOfFile({ source, sizeBytes }: FoundImage, progress: Progress, signal: AbortSignal) {
    const parsed = parseImageSource(source);
    if (parsed.kind === "registry") {
      throw new BangerError("internal", `Cannot use ${source}: it has no digest`);
    }
    progress.stage("Read the archive");
    const digester = new Digester();
    let done = 0;
    for await (const chunk of readFile(this.#host.files, parsed.path)) {
      signal.throwIfAborted();
      digester.update(chunk);
      progress.update(done += chunk.length, sizeBytes);
    }
    return digester.digest();
  }

  #findSame({ digest, platform, sizeBytes }: Wanted, name: ImageName | undefined): ImageRecord | undefined {
    return this.#options.images.list().find((image) =>
      image.digest === digest && image.platform === platform && image.requestedSizeBytes === sizeBytes &&
      image.agentBuild === this.#options.agent.buildId && (name === undefined || image.name === name)
    );
  }

  /** So that the next one who asks for it by this source need not ask a registry. */
  async #alsoKnownAs(image: ImageRecord, source: string): Promise<ImageRecord> {
    if (image.source === source || image.aliases?.includes(source)) return image;
    const known = { ...image, aliases: [...image.aliases ?? [], source] };
    await writeImageRecord(this.#host.files, imagePaths(this.#options.paths, image.id).record, known);
    this.#options.images.update(known);
    return known;
  }
}

function sized(source: RootSource, sizeBytes: number | undefined): RootSource {
  return sizeBytes === undefined ? source : { ...source, sizeBytes };
}

/** Each source's failure: any of them may be the one that its user can mend. */
function noSource(name: string, failures: readonly BangerError[]): BangerError {
  const last = failures.at(-1)!;
  if (failures.length === 1) return last;
  const hints = [...new Set(failures.flatMap(({ hint }) => hint ?? []))];
  return new BangerError(
    last.code,
    `Cannot pull image ${name} from any of its sources: ${failures.map(({ message }) => message).join("; ")}`,
    hints.join(". Or: "),
    { cause: last },
  );
}
