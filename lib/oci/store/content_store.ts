import type { Clock, Files } from "../../base/host.ts";
import { BangerError } from "../../base/errors.ts";
import { algorithmOf, type Digest, Digester, digestOf, hexOf, isDigest } from "../model/digest.ts";
import { type Descriptor, OCI_INDEX, parseManifest } from "../model/manifest.ts";
import { MAX_JSON_BYTES } from "../model/json.ts";
import { FileScratch, type Scratch } from "../compression/scratch.ts";
import { BlobDownload, type OpenBlob } from "./blob_download.ts";
import { readFile } from "./read_file.ts";

const LAYOUT = `{"imageLayoutVersion":"1.0.0"}`;
const EMPTY_INDEX =
  `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`;

const REF_NAME = "org.opencontainers.image.ref.name";

/** The oldest are forgotten: the index must stay readable. */
const MAX_NAMES = 500;

interface IndexEntryJson {
  readonly mediaType: string;
  readonly digest: Digest;
  readonly size: number;
  readonly annotations?: Readonly<Record<string, string>>;
}

/**
 * Blobs by digest in a directory that is an OCI image-layout, so that other tools can read it.
 *
 * A blob appears under its name complete and checked, by a rename. It is not flushed to the disk first: what a
 * crash damages is found by `verify` and fetched again. One object of this class owns a directory within a
 * process; several processes may share it, but for `prune`.
 *
 * Source: OCI image-spec, image-layout.md
 */
export class ContentStore {
  readonly #host: { readonly files: Files; readonly clock: Clock };
  readonly directory: string;
  readonly #ingestDirectory: string;
  readonly #downloads = new Map<Digest, BlobDownload>();
  /** Checked by this process; the file's time then. Whoever writes to the file changes it. */
  readonly #verified = new Map<Digest, number>();
  readonly #pins = new Map<Digest, number>();

  private constructor(
    host: { readonly files: Files; readonly clock: Clock },
    directory: string,
    ingest: string,
  ) {
    this.#host = host;
    this.directory = directory;
    this.#ingestDirectory = ingest;
  }

  /**
   * Opens the store, made where it is missing; what a crash left half done is removed.
   *
   * @param directory absolute
   */
  static async open(
    host: { readonly files: Files; readonly clock: Clock },
    directory: string,
  ): Promise<ContentStore & AsyncDisposable> {
    const { files } = host;
    for (const algorithm of ["sha256", "sha512"]) {
      await files.makeDirectory(`${directory}/blobs/${algorithm}`, 0o700);
    }
    for (const [name, content] of [["oci-layout", LAYOUT], ["index.json", EMPTY_INDEX]] as const) {
      const path = `${directory}/${name}`;
      if (await files.stat(path) === undefined) await files.writeAtomic(path, content);
    }
    const ingest = `${directory}/ingest`;
    await removeAbandoned(files, ingest);
    const own = `${ingest}/${crypto.randomUUID()}`;
    await files.makeDirectory(own, 0o700);
    const lock = await files.lock(`${own}.lock`);
    const store = new ContentStore(host, directory, own);
    return Object.assign(store, {
      [Symbol.asyncDispose]: async () => {
        await store.#cancelDownloads();
        await files.remove(own);
        await files.remove(`${own}.lock`);
        await lock[Symbol.asyncDispose]();
      },
    });
  }

  /** Removes what a crash left half done in a store, where there is one, without opening it. */
  static async cleanUp({ files }: { readonly files: Files }, directory: string): Promise<void> {
    await removeAbandoned(files, `${directory}/ingest`);
  }

  async #cancelDownloads(): Promise<void> {
    const reason = new BangerError("cancelled", "Cannot finish the download: the content store was closed");
    await Promise.all([...this.#downloads.values()].map((download) => download.cancel(reason)));
  }

  /** Where a blob is, or would be. */
  blobPath(digest: Digest): string {
    return `${this.directory}/blobs/${algorithmOf(digest)}/${hexOf(digest)}`;
  }

  /**
   * Whether a blob is there and right. One that is not right is removed, so that it is fetched again. Each is
   * read once in a process, and again where it was written to or is in doubt.
   */
  async verify(descriptor: Descriptor): Promise<boolean> {
    const { digest, sizeBytes } = descriptor;
    const path = this.blobPath(digest);
    const stat = await this.#host.files.stat(path);
    if (stat === undefined) {
      this.#verified.delete(digest);
      return false;
    }
    const isSized = stat.kind === "file" && stat.sizeBytes === sizeBytes;
    if (isSized && this.#verified.get(digest) === stat.mtimeMs) return true;
    if (isSized && await this.#hashFile(path, digest) === digest) {
      this.#verified.set(digest, stat.mtimeMs);
      return true;
    }
    this.#verified.delete(digest);
    await this.#host.files.remove(path);
    return false;
  }

  /** Takes back what was found right: for blobs whose content turned out not to make sense. */
  doubt(digests: readonly Digest[]): void {
    for (const digest of digests) this.#verified.delete(digest);
  }

  /** A blob that was checked on its way here. */
  async #published(digest: Digest): Promise<void> {
    const stat = await this.#host.files.stat(this.blobPath(digest));
    if (stat !== undefined) this.#verified.set(digest, stat.mtimeMs);
  }

  async #hashFile(path: string, like: Digest): Promise<Digest> {
    const digester = new Digester(algorithmOf(like));
    for await (const chunk of readFile(this.#host.files, path)) digester.update(chunk);
    return digester.digest();
  }

  /** A small blob, checked. @returns undefined where it is missing; a damaged one is removed first */
  async findBytes(digest: Digest, maxBytes = MAX_JSON_BYTES): Promise<Uint8Array<ArrayBuffer> | undefined> {
    const path = this.blobPath(digest);
    const stat = await this.#host.files.stat(path);
    if (stat === undefined) return undefined;
    if (stat.sizeBytes <= maxBytes) {
      const bytes = await this.#host.files.readBytes(path, maxBytes);
      if (digestOf(bytes, algorithmOf(digest)) === digest) return bytes;
    }
    await this.#host.files.remove(path);
    return undefined;
  }

  /** Stores a small blob. */
  async putBytes(bytes: Uint8Array, digest: Digest = digestOf(bytes)): Promise<void> {
    await this.#host.files.writeAtomic(this.blobPath(digest), bytes);
  }

  /**
   * Stores what comes, whatever it is.
   *
   * @param expected what its digest must be, where that is known
   * @throws {BangerError} `corrupt_data` where it is another
   */
  async putStream(
    content: AsyncIterable<Uint8Array>,
    expected?: Digest,
  ): Promise<{ digest: Digest; sizeBytes: number }> {
    const { files } = this.#host;
    const path = this.#newIngestPath();
    const digester = new Digester(expected === undefined ? "sha256" : algorithmOf(expected));
    let sizeBytes = 0;
    try {
      {
        await using file = await files.open(path, { write: true, createNew: true, mode: 0o600 });
        for await (const chunk of content) {
          digester.update(chunk);
          await file.writeAt(chunk, sizeBytes);
          sizeBytes += chunk.length;
        }
      }
      const digest = digester.digest();
      if (expected !== undefined && digest !== expected) {
        throw new BangerError("corrupt_data", `Cannot use ${expected}: its content has another digest`);
      }
      await files.rename(path, this.blobPath(digest));
      await this.#published(digest);
      return { digest, sizeBytes };
    } catch (failure) {
      await files.remove(path);
      throw failure;
    }
  }

  /** A stored blob's bytes; `verify` it first. */
  read(descriptor: Descriptor): AsyncIterable<Uint8Array> {
    return readFile(this.#host.files, this.blobPath(descriptor.digest));
  }

  /**
   * Fetches a blob that is missing. Whoever asks for one that is on its way already shares that download.
   *
   * @param open used for the first who asks
   */
  download(descriptor: Descriptor, open: OpenBlob): BlobDownload {
    const running = this.#downloads.get(descriptor.digest);
    if (running !== undefined) {
      if (running.descriptor.sizeBytes === descriptor.sizeBytes) return running;
      throw new BangerError(
        "corrupt_data",
        `Cannot download ${descriptor.digest}: two images give it different sizes`,
      );
    }
    const { digest } = descriptor;
    const paths = { partial: this.#newIngestPath(), final: this.blobPath(digest) };
    const download = new BlobDownload(this.#host, descriptor, paths, open);
    this.#downloads.set(digest, download);
    const settled = download.done.then(() => this.#published(digest)).catch(() => {}); // whoever reads it is told
    void settled.then(() => this.#downloads.delete(digest));
    return download;
  }

  /** Lists an image in the layout's index, where other tools and `prune` find it; a name before gives way. */
  async nameImage(name: string, descriptor: Descriptor): Promise<void> {
    const entry = {
      mediaType: descriptor.mediaType,
      digest: descriptor.digest,
      size: descriptor.sizeBytes,
      annotations: { [REF_NAME]: name },
    };
    await this.#changeIndex((entries) => [
      ...entries.filter(({ annotations }) => annotations?.[REF_NAME] !== name).slice(1 - MAX_NAMES),
      entry,
    ]);
  }

  async #changeIndex(
    change: (entries: readonly IndexEntryJson[]) => readonly IndexEntryJson[],
  ): Promise<void> {
    const path = `${this.directory}/index.json`;
    await using _lock = await this.#host.files.lock(`${this.directory}/index.lock`);
    const bytes = await this.#host.files.readBytes(path, MAX_JSON_BYTES);
    const index = parseManifest(bytes, OCI_INDEX);
    const before = index.kind === "index" ? index.entries : [];
    const entries = change(before.map(({ mediaType, digest, sizeBytes, annotations }) => ({
      mediaType,
      digest,
      size: sizeBytes,
      annotations: Object.fromEntries(annotations),
    })));
    const next = { schemaVersion: 2, mediaType: OCI_INDEX, manifests: entries };
    await this.#host.files.writeAtomic(path, JSON.stringify(next));
  }

  /** Keeps blobs from being pruned until the result is disposed. */
  pin(digests: readonly Digest[]): Disposable {
    for (const digest of digests) this.#pins.set(digest, (this.#pins.get(digest) ?? 0) + 1);
    let isPinned = true;
    return {
      [Symbol.dispose]: () => {
        if (!isPinned) return;
        isPinned = false;
        for (const digest of digests) {
          const count = this.#pins.get(digest)! - 1;
          if (count === 0) this.#pins.delete(digest);
          else this.#pins.set(digest, count);
        }
      },
    };
  }

  /**
   * Removes all blobs but those that the kept manifests need and those in use, and their names.
   *
   * @param keep digests of manifests or indexes
   * @returns what was removed
   */
  async prune(keep: readonly Digest[]): Promise<{ blobs: number; sizeBytes: number }> {
    const { files } = this.#host;
    const kept = await this.#reachable(keep);
    let blobs = 0;
    let sizeBytes = 0;
    for (const algorithm of await files.list(`${this.directory}/blobs`)) {
      for (const hex of await files.list(`${this.directory}/blobs/${algorithm}`)) {
        const digest = `${algorithm}:${hex}`;
        if (isDigest(digest) && (kept.has(digest) || this.#pins.has(digest))) continue;
        const path = `${this.directory}/blobs/${algorithm}/${hex}`;
        sizeBytes += (await files.stat(path))?.allocatedBytes ?? 0;
        blobs++;
        await files.remove(path);
        if (isDigest(digest)) this.#verified.delete(digest);
      }
    }
    await this.#changeIndex((entries) => entries.filter(({ digest }) => kept.has(digest)));
    return { blobs, sizeBytes };
  }

  async #reachable(roots: readonly Digest[]): Promise<Set<Digest>> {
    const seen = new Set<Digest>();
    const pending = [...roots];
    for (let digest = pending.pop(); digest !== undefined; digest = pending.pop()) {
      if (seen.has(digest)) continue;
      seen.add(digest);
      const bytes = await this.findBytes(digest);
      if (bytes === undefined) continue;
      const manifest = parseManifest(bytes, undefined);
      if (manifest.kind === "index") pending.push(...manifest.entries.map((entry) => entry.digest));
      else for (const { digest } of [manifest.config, ...manifest.layers]) seen.add(digest);
    }
    return seen;
  }

  /** Room on the disk that nobody else sees, and that is gone when it is closed or this process ends. */
  async openScratch(): Promise<Scratch> {
    const { files } = this.#host;
    const path = this.#newIngestPath();
    const file = await files.open(path, { read: true, write: true, createNew: true, mode: 0o600 });
    try {
      await files.remove(path);
    } catch (failure) {
      await file[Symbol.asyncDispose]();
      throw failure;
    }
    return new FileScratch(file);
  }

  #newIngestPath(): string {
    return `${this.#ingestDirectory}/${crypto.randomUUID()}`;
  }
}

/** Staging of processes that are gone: their locks are free. */
async function removeAbandoned(files: Files, ingest: string): Promise<void> {
  const names = await files.list(ingest);
  for (const name of names.filter((name) => name.endsWith(".lock"))) {
    const path = `${ingest}/${name}`;
    const lock = await files.tryLock(path);
    if (lock === undefined) continue;
    await files.remove(path.slice(0, -".lock".length));
    await files.remove(path);
    await lock[Symbol.asyncDispose]();
  }
}
