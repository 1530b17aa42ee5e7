import { BangerError } from "../../base/errors.ts";
import {
  type ByteString,
  type ContentSink,
  type DirectoryInode,
  emptyDirectory,
  type FileInode,
  type Inode,
  type StoredContent,
} from "../../base/tree.ts";
import { cleanPath, findDirectory, lookup, makeDirectories, quoteBytes } from "../../base/tree_paths.ts";
import { MIB } from "../../base/units.ts";
import type { EntrySource, TarEntry } from "../tar/entry.ts";
import { LayerMarks } from "./layer_marks.ts";
import { roleOf } from "./whiteouts.ts";

/** ext4's, and every other Linux file system's. */
const MAX_NAME_BYTES = 255;

export interface ReplayLimits {
  /** Over all layers; each entry costs some 400 bytes of memory. */
  readonly maxEntries: number;
  /** Names, link targets and extended attributes over all layers: what hostile archives fill memory with. */
  readonly maxMetadataBytes: number;
  /** File contents over all layers, overwritten ones included: what they fill a disk with. */
  readonly maxContentBytes: number;
}

const DEFAULT_REPLAY_LIMITS: ReplayLimits = {
  maxEntries: 4_000_000,
  maxMetadataBytes: 512 * MIB,
  maxContentBytes: 2 ** 40,
};

export interface ReplayTotals {
  readonly entries: number;
  readonly contentBytes: number;
}

/**
 * Puts an image's layers, bottom first, into one in-memory tree; file contents flow into the sink and are
 * never held. The result is what an unpacker would have left in a directory, but no path of the image ever
 * reaches the host: links are resolved inside the tree.
 *
 * Layers go bottom-up, so contents that an upper layer overwrites or hides are written to the sink and then
 * no longer referenced by the tree: a sink takes back what the finished tree does not reference. Top-down
 * would not write them at all, but cannot resolve an entry whose path leads through a symlink of a lower layer
 * (`bin -> usr/bin`) before that layer was read, and so would delay or re-read exactly the large layers;
 * it would also have to wait for the last download, where bottom-up starts with the first.
 *
 * Source: OCI image-spec, layer.md
 */
export class TreeBuilder {
  /** Mode 0755, root's, until a layer has an entry for it. */
  readonly root: DirectoryInode = emptyDirectory();
  readonly #sink: ContentSink;
  readonly #limits: ReplayLimits;
  #layers = 0;
  #entries = 0;
  #metadataBytes = 0;
  #contentBytes = 0;
  /** Where the last entry went: entries of one directory mostly come together. */
  #lastParent: { path: string; chain: DirectoryInode[] } | undefined;

  constructor(sink: ContentSink, limits: Partial<ReplayLimits> = {}) {
    this.#sink = sink;
    this.#limits = { ...DEFAULT_REPLAY_LIMITS, ...limits };
  }

  get totals(): ReplayTotals {
    return { entries: this.#entries, contentBytes: this.#contentBytes };
  }

  /**
   * Applies a layer of an image: whiteouts hide what layers below have, whatever their place in the archive.
   *
   * A failure leaves the tree unusable.
   *
   * @throws {BangerError} `corrupt_data` for what no file system could hold or what means nothing;
   * `no_space` beyond the limits, and whatever source and sink throw
   */
  async applyLayer(source: EntrySource, signal?: AbortSignal): Promise<void> {
    this.#layers++;
    // Nothing lies below the first layer, so nothing needs to be told apart from it.
    const marks = this.#layers === 1 ? undefined : new LayerMarks(this.root);
    this.#lastParent = undefined;
    for (let entry = await source.nextEntry(); entry !== undefined; entry = await source.nextEntry()) {
      signal?.throwIfAborted();
      this.#count(entry);
      const names = cleanPath(entry.path);
      const role = roleOf(names, entry);
      if (role.kind === "ordinary") await this.#apply(entry, names, source, marks);
      else if (role.kind !== "hidden") this.#hide(names.slice(0, -1), role, marks);
    }
  }

  /** Applies an archive that is a whole root file system: names that begin with `.wh.` are names. */
  async applyArchive(source: EntrySource, signal?: AbortSignal): Promise<void> {
    this.#layers++;
    this.#lastParent = undefined;
    for (let entry = await source.nextEntry(); entry !== undefined; entry = await source.nextEntry()) {
      signal?.throwIfAborted();
      this.#count(entry);
      await this.#apply(entry, cleanPath(entry.path), source, undefined);
    }
  }

  #count(entry: TarEntry): void {
    this.#entries++;
    this.#metadataBytes += entry.path.length + entry.linkTarget.length;
    for (const [name, value] of entry.attributes.xattrs) this.#metadataBytes += name.length + value.length;
    this.#contentBytes += entry.sizeBytes;
    if (this.#entries > this.#limits.maxEntries) throw tooMuch("entries", this.#limits.maxEntries);
    if (this.#metadataBytes > this.#limits.maxMetadataBytes) {
      throw tooMuch("bytes of names and attributes", this.#limits.maxMetadataBytes);
    }
    if (this.#contentBytes > this.#limits.maxContentBytes) {
      throw tooMuch("bytes of content", this.#limits.maxContentBytes);
    }
  }

  async #apply(
    entry: TarEntry,
    names: ByteString[],
    source: EntrySource,
    marks: LayerMarks | undefined,
  ): Promise<void> {
    const name = names.at(-1);
    if (name === undefined) return this.#applyRoot(entry);
    for (const part of names) {
      if (part.length > MAX_NAME_BYTES) {
        throw cannotApply(entry, `a name in it is longer than ${MAX_NAME_BYTES} bytes`);
      }
      if (part.includes("\0")) throw cannotApply(entry, "a name in it contains a NUL");
    }
    const chain = this.#parentOf(names);
    const parent = chain.at(-1)!;
    const existing = parent.entries.get(name);
    if (entry.kind === "directory" && existing?.kind === "directory") {
      existing.attributes = entry.attributes;
    } else {
      const inode = entry.kind === "hard-link"
        ? this.#linkTarget(entry, existing)
        : await this.#makeInode(entry, source);
      // What is replaced may have been part of remembered paths.
      if (existing?.kind === "directory" || existing?.kind === "symlink") this.#lastParent = undefined;
      parent.entries.set(name, inode);
    }
    marks?.mark(chain, name);
  }

  #applyRoot(entry: TarEntry): void {
    if (entry.kind !== "directory") throw cannotApply(entry, "the root must be a directory");
    this.root.attributes = entry.attributes;
  }

  /** @returns the directories from the root to the one that holds the entry; missing ones are made */
  #parentOf(names: readonly ByteString[]): DirectoryInode[] {
    const path = names.slice(0, -1).join("/");
    if (this.#lastParent?.path === path) return this.#lastParent.chain;
    const chain = makeDirectories(this.root, names.slice(0, -1));
    this.#lastParent = { path, chain };
    return chain;
  }

  /** The target's own inode, a symlink too: links are followed only on the way to it. */
  #linkTarget(entry: TarEntry, existing: Inode | undefined): Inode {
    const names = cleanPath(entry.linkTarget);
    const name = names.pop();
    const target = name === undefined ? this.root : findDirectory(this.root, names)?.entries.get(name);
    if (target === undefined) {
      throw cannotApply(entry, `its hard link target ${quoteBytes(entry.linkTarget)} is missing`);
    }
    if (target.kind === "directory") throw cannotApply(entry, "a directory cannot have hard links");
    if (target === existing && this.#isSelf(entry)) throw cannotApply(entry, "it is a hard link to itself");
    return target;
  }

  #isSelf(entry: TarEntry): boolean {
    const from = cleanPath(entry.path);
    const to = cleanPath(entry.linkTarget);
    if (from.pop() !== to.pop()) return false;
    return findDirectory(this.root, from) === findDirectory(this.root, to);
  }

  async #makeInode(entry: TarEntry, source: EntrySource): Promise<Inode> {
    const { attributes } = entry;
    switch (entry.kind) {
      case "file":
        return {
          kind: "file",
          attributes,
          content: await this.#store(source, entry.sizeBytes),
        } satisfies FileInode;
      case "directory":
        return { kind: "directory", attributes, entries: new Map() };
      case "symlink":
        return { kind: "symlink", attributes, target: entry.linkTarget };
      case "character-device":
      case "block-device":
      case "fifo":
        return { kind: entry.kind, attributes, major: entry.major, minor: entry.minor };
      case "hard-link":
        throw new Error("hard links have no inode of their own");
    }
  }

  async #store(source: EntrySource, sizeBytes: number): Promise<StoredContent> {
    const writer = this.#sink.begin();
    try {
      for (let left = sizeBytes; left > 0;) {
        const chunk = await source.nextChunk();
        if (chunk === undefined) throw new Error("an entry's content is shorter than its size");
        await writer.write(chunk);
        left -= chunk.length;
      }
      return await writer.end();
    } catch (failure) {
      await writer.abort();
      throw failure;
    }
  }

  #hide(
    directoryNames: readonly ByteString[],
    role: { kind: "opaque" } | { kind: "whiteout"; hides: ByteString },
    marks: LayerMarks | undefined,
  ): void {
    // Without a layer below, there is nothing to hide.
    if (marks === undefined) return;
    const directory = lookup(this.root, `/${directoryNames.join("/")}` as ByteString);
    if (directory?.kind !== "directory") return;
    this.#lastParent = undefined;
    if (role.kind === "opaque") marks.removeLower(directory);
    else marks.removeLowerEntry(directory, role.hides);
  }
}

function cannotApply(entry: TarEntry, why: string): BangerError {
  return new BangerError("corrupt_data", `Cannot put ${quoteBytes(entry.path)} into the image: ${why}`);
}

function tooMuch(what: string, limit: number): BangerError {
  return new BangerError("no_space", `Cannot unpack the image: it has more than ${limit} ${what}`);
}
