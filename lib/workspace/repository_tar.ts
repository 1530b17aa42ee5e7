/** A staged repository as one tar, made while it is sent. */
import { BangerError } from "../base/errors.ts";
import type { Files } from "../base/host.ts";
import { bytesOf, type ByteString, byteStringOfText } from "../base/tree.ts";
import { quoteBytes } from "../base/tree_paths.ts";
import type { TreeReader } from "../base/tree_reader.ts";
import type { StagedRepository } from "./stage.ts";
import type { PresentFile } from "./survey.ts";
import { tarEnd, type TarEntry, tarHeader, tarPadding } from "./tar_stream.ts";

/** The names that were sent, so that a refresh can take back what is gone outside. */
const SENT_LIST = ".banger/repo.sent";
const BATCH_BYTES = 256 * 1024;
/** The stream's last file: busybox's tar takes one that ends between two files for whole. */
const WHOLE_MARK = ".banger/repo.whole";

/** A repository that is sent, or one inside it. */
export interface SentPart {
  /** Below the repository, with a slash at its end; empty for the repository itself. */
  readonly prefix: ByteString;
  /** Where the `.git` goes, if not into the tree: below the guest's home. */
  readonly gitAt?: string;
  readonly staged: Pick<StagedRepository, "gitDirectory" | "files" | "packs">;
  readonly tree: TreeReader;
  readonly present: readonly PresentFile[];
  /** Directories that only hold a place: submodules without content. */
  readonly directories: readonly ByteString[];
}

/** Everything below the guest's /root. A `.git` comes last: what is cut off is no repository. */
export async function* repositoryTar(
  { files }: { readonly files: Pick<Files, "readStream" | "stat"> },
  parts: readonly SentPart[],
  now: number,
): AsyncGenerator<Uint8Array> {
  const batch = new Batch();
  addDirectory(batch, "repo" as ByteString, now);
  const sent = parts.flatMap(({ prefix, present }) => [
    ...present.map(({ path }) => `${prefix}${path}\0`),
    `${prefix}.git\0`,
  ]);
  addFile(batch, SENT_LIST as ByteString, bytesOf(sent.join("") as ByteString), now, 0o600);
  for (const { prefix, tree, present, directories } of parts) {
    for (const path of directories) addDirectory(batch, `repo/${prefix}${path}` as ByteString, now);
    for (const file of present) yield* workFile(batch, prefix, tree, file);
  }
  // The outer one is the last: with it everything is there.
  for (const { prefix, gitAt = `repo/${prefix}.git`, staged } of parts.toReversed()) {
    yield* gitDirectory({ files }, batch, gitAt, staged, now);
  }
  addFile(batch, WHOLE_MARK as ByteString, new Uint8Array(0), now);
  batch.add(tarEnd());
  yield batch.take();
}

const GIT_DIRECTORIES = [
  "",
  "/objects",
  "/objects/pack",
  "/objects/info",
  "/refs",
  "/refs/heads",
  "/refs/tags",
  "/info",
];

async function* gitDirectory(
  { files }: { readonly files: Pick<Files, "readStream" | "stat"> },
  batch: Batch,
  at: string,
  staged: SentPart["staged"],
  now: number,
): AsyncGenerator<Uint8Array> {
  for (const name of GIT_DIRECTORIES) addDirectory(batch, `${at}${name}` as ByteString, now);
  for (const [name, content] of staged.files) {
    addFile(batch, `${at}/${name}` as ByteString, content, now);
    if (batch.isFull) yield batch.take();
  }
  for (const pack of staged.packs) {
    const path = `${staged.gitDirectory}/objects/pack/${pack}`;
    const sizeBytes = (await files.stat(path))?.sizeBytes ?? 0;
    const name = `${at}/objects/pack/${byteStringOfText(pack)}` as ByteString;
    batch.add(tarHeader({ kind: "file", name, mode: 0o444, mtimeSeconds: now, sizeBytes }));
    yield batch.take();
    for await (const chunk of files.readStream(path, { offsetBytes: 0, sizeBytes })) yield chunk;
    batch.add(tarPadding(sizeBytes));
  }
}

function addDirectory(batch: Batch, name: ByteString, mtimeSeconds: number): void {
  batch.add(tarHeader({ kind: "directory", name, mode: 0o755, mtimeSeconds }));
}

function addFile(
  batch: Batch,
  name: ByteString,
  content: Uint8Array,
  mtimeSeconds: number,
  mode = 0o644,
): void {
  const header = tarHeader({ kind: "file", name, mode, mtimeSeconds, sizeBytes: content.length });
  batch.add(header, content, tarPadding(content.length));
}

function* workFile(
  batch: Batch,
  prefix: ByteString,
  tree: TreeReader,
  { path, stat }: PresentFile,
): Generator<Uint8Array> {
  const common = { name: `repo/${prefix}${path}` as ByteString, mtimeSeconds: stat.mtimeSeconds };
  if (stat.kind === "symlink") {
    const entry: TarEntry = { ...common, kind: "symlink", mode: 0o777, target: tree.readLink(path) };
    batch.add(tarHeader(entry));
    if (batch.isFull) yield batch.take();
    return;
  }
  using file = tree.open(path);
  const { sizeBytes, mode, mtimeSeconds } = file.stat;
  batch.add(tarHeader({ kind: "file", name: common.name, mode: mode & 0o777, mtimeSeconds, sizeBytes }));
  for (let left = sizeBytes; left > 0;) {
    if (batch.isFull) yield batch.take();
    const count = batch.fill(left, (into) => file.read(into));
    if (count === 0) {
      throw new BangerError(
        "wrong_state",
        `Cannot send ${quoteBytes(path)}: it became shorter while it was read`,
        "Run the command again",
      );
    }
    left -= count;
  }
  batch.add(tarPadding(sizeBytes));
  if (batch.isFull) yield batch.take();
}

/** Many small pieces as few large ones: each send has its price. */
class Batch {
  #buffer = new Uint8Array(BATCH_BYTES);
  #length = 0;

  get isFull(): boolean {
    return this.#length >= BATCH_BYTES / 2;
  }

  add(...parts: readonly Uint8Array[]): void {
    for (const part of parts) {
      if (this.#length + part.length > this.#buffer.length) this.#grow(part.length);
      this.#buffer.set(part, this.#length);
      this.#length += part.length;
    }
  }

  /** Lets `read` fill what is free, at most `limit` bytes. */
  fill(limit: number, read: (into: Uint8Array) => number): number {
    if (this.#length === this.#buffer.length) this.#grow(BATCH_BYTES);
    const space = this.#buffer.subarray(this.#length, this.#length + limit);
    const count = read(space);
    this.#length += count;
    return count;
  }

  /** What there is; the batch begins anew. */
  take(): Uint8Array {
    const taken = this.#buffer.subarray(0, this.#length);
    this.#buffer = new Uint8Array(BATCH_BYTES);
    this.#length = 0;
    return taken;
  }

  #grow(bytes: number): void {
    const larger = new Uint8Array(Math.max(this.#buffer.length * 2, this.#length + bytes));
    larger.set(this.#buffer.subarray(0, this.#length));
    this.#buffer = larger;
  }
}
