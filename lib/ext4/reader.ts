import { BangerError } from "../base/errors.ts";
import {
  type ByteString,
  type ContentSink,
  type ContentWriter,
  type DirectoryInode,
  type Inode,
  type StoredContent,
} from "../base/tree.ts";
import { PlacedContent } from "./content.ts";
import { ROOT_INODE } from "./format.ts";
import { readPlaced, readRun, zeros } from "./placed_reader.ts";
import {
  checkReadable,
  featureNames,
  type ReadableDisk,
  readSuperblock,
  type Superblock,
} from "./superblock_reader.ts";
import { TreeWalk } from "./tree_reader.ts";

/** What a filesystem says about itself. */
export interface FilesystemDescription {
  readonly sizeBytes: number;
  readonly usedBytes: number;
  readonly freeBytes: number;
  readonly inodeCount: number;
  readonly usedInodes: number;
  /** Lower-case, with hyphens. */
  readonly uuid: string;
  /** Untrusted text. */
  readonly label: string;
  /** e2fsprogs' names. `needs_recovery` among them: it was not unmounted. */
  readonly features: readonly string[];
}

/** @throws {BangerError} `corrupt_data` for what is no ext2, ext3 or ext4 */
export async function readFilesystemSummary(disk: ReadableDisk): Promise<FilesystemDescription> {
  return describe(await readSuperblock(disk));
}

function describe(superblock: Superblock): FilesystemDescription {
  const { blockSize, blockCount, freeBlocks, inodeCount, freeInodes, uuid } = superblock;
  return {
    sizeBytes: blockCount * blockSize,
    usedBytes: (blockCount - freeBlocks) * blockSize,
    freeBytes: freeBlocks * blockSize,
    inodeCount,
    usedInodes: inodeCount - freeInodes,
    uuid: formatUuid(uuid),
    label: superblock.label,
    features: featureNames(superblock),
  };
}

function formatUuid(uuid: Uint8Array): string {
  const hex = Array.from(uuid, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

export interface ReaderOptions {
  /** Directory entries in one tree; more is an error, not memory. Default 2 million. */
  readonly maxEntries?: number;
}

const DEFAULT_MAX_ENTRIES = 2_000_000;
const COPY_BYTES = 1024 * 1024;

/**
 * Reads an ext4 filesystem without mounting it. The disk is untrusted: every number is checked, no block
 * is followed twice without being counted, loops end with an error.
 */
export class FilesystemReader {
  readonly #disk: ReadableDisk;
  readonly #superblock: Superblock;
  readonly #maxEntries: number;

  private constructor(disk: ReadableDisk, superblock: Superblock, options: ReaderOptions) {
    this.#disk = disk;
    this.#superblock = superblock;
    this.#maxEntries = options.maxEntries ?? DEFAULT_MAX_ENTRIES;
  }

  /**
   * @param disk stays the caller's, and must stay open
   * @throws {BangerError} `corrupt_data`; `wrong_state` for a disk that was not unmounted;
   *   `host_unsupported` for features that are not known here
   */
  static async open(disk: ReadableDisk, options: ReaderOptions = {}): Promise<FilesystemReader> {
    const superblock = await readSuperblock(disk);
    checkReadable(superblock);
    return new FilesystemReader(disk, superblock, options);
  }

  get description(): FilesystemDescription {
    return describe(this.#superblock);
  }

  /**
   * The tree at `path`, hard links recognized. Contents stay on the disk: see `readContent`.
   *
   * @param path of a directory, absolute; symlinks are not followed
   * @returns undefined where there is no such directory
   * @throws {BangerError} `corrupt_data`
   */
  async findTree(path: ByteString): Promise<DirectoryInode | undefined> {
    const names = path.split("/").filter((part) => part !== "") as ByteString[];
    const found = await this.#newWalk().find(names);
    return found === undefined ? undefined : await this.#newWalk().run(found);
  }

  /** The whole tree. @throws {BangerError} `corrupt_data` */
  async readTree(): Promise<DirectoryInode> {
    return await this.#newWalk().run(ROOT_INODE);
  }

  /**
   * Copies the tree at `path` with its contents, so that it belongs to `sink`.
   *
   * @returns undefined where there is no such directory
   */
  async copyTree(path: ByteString, sink: ContentSink): Promise<DirectoryInode | undefined> {
    const root = await this.findTree(path);
    if (root) await this.copyTreeContents(root, sink);
    return root;
  }

  #newWalk(): TreeWalk {
    return new TreeWalk(this, this.#disk, this.#superblock, this.#maxEntries);
  }

  /**
   * Chunks of up to 1 MiB, holes as zeros. A chunk is valid until the next.
   *
   * @throws {BangerError} `internal` for content of another disk
   */
  readContent(content: StoredContent): AsyncGenerator<Uint8Array> {
    const { extents } = this.#placed(content);
    return readPlaced(this.#disk, extents, content.sizeBytes, this.#superblock.blockSize);
  }

  /** Copies content to another sink; holes stay holes where the sink can keep them. */
  async copyContent(content: StoredContent, sink: ContentSink): Promise<StoredContent> {
    const { blockSize } = this.#superblock;
    const buffer = new Uint8Array(Math.min(COPY_BYTES, content.sizeBytes));
    const { extents } = this.#placed(content);
    const writer = sink.begin();
    try {
      let at = 0;
      for (const { logical, physical, length } of extents) {
        const start = logical * blockSize;
        await writeHole(writer, start - at, buffer);
        at = Math.min(start + length * blockSize, content.sizeBytes);
        const run = readRun(this.#disk, physical * blockSize, at - start, buffer);
        for await (const chunk of run) await writer.write(chunk);
      }
      await writeHole(writer, content.sizeBytes - at, buffer);
      return await writer.end();
    } catch (failure) {
      await writer.abort();
      throw failure;
    }
  }

  /** Copies all contents of a tree that was read here; afterwards the tree belongs to the sink. */
  async copyTreeContents(root: DirectoryInode, sink: ContentSink): Promise<void> {
    const done = new Set<Inode>();
    const waiting: DirectoryInode[] = [root];
    for (let directory = waiting.pop(); directory; directory = waiting.pop()) {
      for (const inode of directory.entries.values()) {
        if (inode.kind === "directory") waiting.push(inode);
        if (inode.kind !== "file" || done.has(inode)) continue;
        done.add(inode);
        inode.content = await this.copyContent(inode.content, sink);
      }
    }
  }

  #placed({ token }: StoredContent): PlacedContent {
    if (token instanceof PlacedContent && token.owner === this) return token;
    throw new BangerError("internal", "Cannot read file content: it lies on another disk");
  }
}

/** Opens a filesystem for reading: see `FilesystemReader.open`. */
export function openFilesystem(disk: ReadableDisk, options?: ReaderOptions): Promise<FilesystemReader> {
  return FilesystemReader.open(disk, options);
}

/** Leaves a hole where the writer knows how to, else writes zeros. */
async function writeHole(writer: ContentWriter, sizeBytes: number, buffer: Uint8Array): Promise<void> {
  if (sizeBytes === 0) return;
  if ("writeHole" in writer && typeof writer.writeHole === "function") await writer.writeHole(sizeBytes);
  else for (const chunk of zeros(buffer, sizeBytes)) await writer.write(chunk);
}
