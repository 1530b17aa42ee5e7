import { createHash } from "node:crypto";
import { BangerError } from "../base/errors.ts";
import { quote } from "../base/names.ts";
import type {
  ContentSink,
  ContentWriter,
  DirectoryInode,
  FileInode,
  StoredContent,
  Timestamp,
} from "../base/tree.ts";
import { formatBytes } from "../base/units.ts";
import { BlockAllocator } from "./allocator.ts";
import { ExtentContentWriter, type HoleWriter, PlacedContent } from "./content.ts";
import { crc32c, CRC32C_START } from "./crc32c.ts";
import { extentTreeBlocks } from "./extents.ts";
import { BLOCK_SIZE, JOURNAL_INODE, LOST_AND_FOUND_INODE, RESIZE_INODE } from "./format.ts";
import {
  descriptorArea,
  type Layout,
  MAX_FILESYSTEM_BYTES,
  MIN_FILESYSTEM_BYTES,
  planLayout,
} from "./geometry.ts";
import { writeGroups } from "./group_writer.ts";
import { GroupPlaces } from "./groups.ts";
import type { InodeFields } from "./inode.ts";
import { InodeTableWriter } from "./inode_table.ts";
import { BlockStream, type DiskFile, SerialOutput } from "./output.ts";
import { readPlaced } from "./placed_reader.ts";
import { writeJournalInode, writeResizeInode } from "./special_inodes.ts";
import type { Identity } from "./superblock.ts";
import { type Survey, surveyTree } from "./survey.ts";
import { MetadataPlacer, TreeWriter } from "./tree_writer.ts";
import { BlockUsage } from "./usage.ts";
import { XattrBlocks } from "./xattr_blocks.ts";

export interface FilesystemOptions {
  /** 16 bytes; hash seed and journal id follow from it, so equal input gives equal bytes. */
  readonly uuid: Uint8Array;
  /** At most 16 bytes of UTF-8. */
  readonly label?: string;
  /** All times of the superblock and of what the writer adds itself. */
  readonly timestamp: Timestamp;
  /** The file's exact size. Default: the content and a quarter, at least 1 GiB. */
  readonly sizeBytes?: number;
}

export interface FilesystemSummary {
  readonly sizeBytes: number;
  readonly freeBytes: number;
  readonly inodeCount: number;
  readonly usedInodes: number;
  readonly directories: number;
  readonly files: number;
  /** Symlinks, devices, FIFOs and sockets. */
  readonly otherInodes: number;
}

/**
 * Writes an ext4 filesystem in one pass: contents first, as streams, in any order; then `finish` with the
 * tree that they belong to. Nothing but the tree is held in memory, and the file stays sparse.
 *
 * Dispose it in any case: that waits for a write in the air. A file whose writer did not finish is no
 * filesystem; its owner removes it.
 */
export class FilesystemWriter implements ContentSink, AsyncDisposable {
  readonly #file: DiskFile;
  readonly #options: FilesystemOptions;
  readonly #identity: Identity;
  readonly #output: SerialOutput;
  readonly #allocator: BlockAllocator;
  readonly #stream: BlockStream;
  readonly #scratch = new Uint8Array(BLOCK_SIZE);
  #contentOpen = false;
  #finished = false;

  private constructor(file: DiskFile, options: FilesystemOptions) {
    this.#file = file;
    this.#options = options;
    this.#identity = makeIdentity(options);
    this.#output = new SerialOutput(file);
    const limit = options.sizeBytes === undefined ? Infinity : Math.floor(options.sizeBytes / BLOCK_SIZE);
    this.#allocator = new BlockAllocator(descriptorArea(options.sizeBytes), limit);
    this.#stream = new BlockStream(this.#output, this.#allocator);
  }

  /**
   * @param file emptied first
   * @throws {BangerError} `invalid_argument` for options that make no filesystem
   */
  static async create(file: DiskFile, options: FilesystemOptions): Promise<FilesystemWriter> {
    checkOptions(options);
    // Linux's ext4 takes a file that is cut to nothing for one being replaced, and writes it out when it is
    // closed: half a second for an image. So what is empty is left alone.
    if (await file.sizeBytes() > 0) await file.truncate(0);
    return new FilesystemWriter(file, options);
  }

  /** @throws {BangerError} `no_space` from the writer's methods when the asked-for size is full */
  begin(): HoleWriter {
    if (this.#finished) throw new BangerError("internal", "Cannot begin a file: the filesystem is finished");
    if (this.#contentOpen) throw new BangerError("internal", "Cannot begin a file: another one is open");
    this.#contentOpen = true;
    return new ExtentContentWriter({
      owner: this,
      stream: this.#stream,
      scratch: this.#scratch,
      firstBlock: this.#allocator.next,
      closed: () => this.#contentOpen = false,
    });
  }

  /**
   * Reads content back, in chunks of up to 1 MiB with holes as zeros. A chunk is valid until the next.
   *
   * @throws {BangerError} `internal` for content of another sink
   */
  async *readContent(content: StoredContent): AsyncGenerator<Uint8Array> {
    const placed = this.#placed(content);
    if (!placed) return;
    await this.#stream.flush();
    await this.#output.settle();
    yield* readPlaced(this.#file, placed.extents, content.sizeBytes, BLOCK_SIZE);
  }

  /**
   * Writes all metadata, the superblock last, so that an unfinished file never mounts.
   *
   * @throws {BangerError} `corrupt_data` with the path, for what ext4 cannot hold; `no_space`
   */
  async finish(root: DirectoryInode): Promise<FilesystemSummary> {
    if (this.#contentOpen || this.#finished) {
      throw new BangerError("internal", "Cannot finish the filesystem: a file is open, or it is finished");
    }
    const xattrBlocks = new XattrBlocks();
    const survey = surveyTree(root, this.#identity.timestamp, xattrBlocks);
    const copies = await this.#claimContents(survey.files);
    const contentOf = (file: FileInode) => copies.get(file) ?? this.#placed(file.content);
    this.#finished = true;
    const layout = await this.#planLayout(survey, contentOf);
    const usage = new BlockUsage();
    const places = new GroupPlaces(layout, this.#allocator, usage);
    const table = new InodeTableWriter(layout, places, this.#output, this.#identity.checksumSeed);
    const tree = new TreeWriter({
      survey,
      identity: this.#identity,
      stream: this.#stream,
      usage,
      xattrBlocks,
      table,
      contentOf,
    });
    await tree.writeRoot();
    const journal = await this.#writeSpecialInodes(layout, usage, table);
    await tree.writeRest();
    await this.#stream.flush();
    await table.flush();
    const parts = { identity: this.#identity, layout, places, usage, table, output: this.#output, journal };
    const { freeBlocks } = await writeGroups(parts, () => this.#file.truncate(layout.sizeBytes));
    return summarize(layout, freeBlocks, survey, table);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#output.quiesce();
  }

  #placed(content: StoredContent): PlacedContent | undefined {
    const { token } = content;
    if (token instanceof PlacedContent && token.owner === this) return token;
    if (content.sizeBytes === 0) return undefined;
    throw new BangerError("internal", "Cannot use file content: it lies in another sink");
  }

  /** Files that share content without being hard links get copies: blocks have one owner. */
  async #claimContents(files: readonly FileInode[]): Promise<Map<FileInode, PlacedContent>> {
    const copies = new Map<FileInode, PlacedContent>();
    for (const file of files) {
      const placed = this.#placed(file.content);
      if (!placed || placed.extents.count === 0) continue;
      if (placed.claimedBy) copies.set(file, this.#placed(await this.#copy(file.content))!);
      else placed.claimedBy = file;
    }
    return copies;
  }

  async #copy(content: StoredContent): Promise<StoredContent> {
    const source = this.readContent(content);
    const writer: ContentWriter = this.begin();
    for await (const chunk of source) await writer.write(chunk);
    return await writer.end();
  }

  async #planLayout(
    survey: Survey,
    contentOf: (file: FileInode) => PlacedContent | undefined,
  ): Promise<Layout> {
    await this.#stream.flush();
    // Where something was written and taken back, blocks are not zero: tables and journal must be.
    this.#allocator.moveTo(this.#stream.highWaterBlock);
    let metadataBlocks = survey.metadataBlocks;
    for (const file of survey.files) metadataBlocks += extentTreeBlocks(contentOf(file)?.extents.count ?? 0);
    const layout = planLayout({
      contentEnd: this.#allocator.next,
      metadataBlocks,
      inodes: LOST_AND_FOUND_INODE + survey.inodes.length - 1,
      descriptorArea: this.#allocator.descriptorArea,
      sizeBytes: this.#options.sizeBytes,
    });
    this.#allocator.limitBlocks = layout.blockCount;
    return layout;
  }

  async #writeSpecialInodes(
    layout: Layout,
    usage: BlockUsage,
    table: InodeTableWriter,
  ): Promise<InodeFields | undefined> {
    const parts = {
      identity: this.#identity,
      layout,
      usage,
      allocator: this.#allocator,
      output: this.#output,
      placer: new MetadataPlacer(this.#stream, usage),
    };
    await table.write(RESIZE_INODE, await writeResizeInode(parts), false);
    if (layout.journalBlocks === 0) return undefined;
    const journal = await writeJournalInode(parts);
    await table.write(JOURNAL_INODE, journal, false);
    return journal;
  }
}

function summarize(
  layout: Layout,
  freeBlocks: number,
  survey: Survey,
  table: InodeTableWriter,
): FilesystemSummary {
  const directories = survey.parentOf.size;
  const files = survey.files.length;
  return {
    sizeBytes: layout.sizeBytes,
    freeBytes: freeBlocks * BLOCK_SIZE,
    inodeCount: layout.inodesPerGroup * layout.groupCount,
    usedInodes: table.usedInodes,
    directories,
    files,
    otherInodes: survey.inodes.length + 1 - directories - files,
  };
}

function checkOptions({ uuid, label, timestamp, sizeBytes }: FilesystemOptions): void {
  if (uuid.length !== 16) {
    throw new BangerError("internal", `Cannot make a filesystem: its UUID has ${uuid.length} bytes, not 16`);
  }
  if (label !== undefined && new TextEncoder().encode(label).length > 16) {
    throw new BangerError("invalid_argument", `Cannot use ${quote(label)} as a label: it is over 16 bytes`);
  }
  if (!Number.isInteger(timestamp.seconds) || timestamp.seconds >= 2 ** 33) {
    throw new BangerError("invalid_argument", "Cannot make a filesystem: its time is after 2242");
  }
  if (sizeBytes === undefined) return;
  if (Number.isInteger(sizeBytes) && sizeBytes >= MIN_FILESYSTEM_BYTES && sizeBytes <= MAX_FILESYSTEM_BYTES) {
    return;
  }
  throw new BangerError(
    "invalid_argument",
    `Cannot make a filesystem of ${sizeBytes} bytes`,
    `Choose a size from ${formatBytes(MIN_FILESYSTEM_BYTES)} to ${formatBytes(MAX_FILESYSTEM_BYTES)}`,
  );
}

function makeIdentity({ uuid, label, timestamp }: FilesystemOptions): Identity {
  const hashSeed = createHash("sha256").update("directory hash seed").update(uuid).digest().subarray(0, 16);
  return {
    uuid: uuid.slice(),
    label: new TextEncoder().encode(label ?? ""),
    timestamp,
    hashSeed: new Uint8Array(hashSeed),
    checksumSeed: crc32c(CRC32C_START, uuid),
  };
}
