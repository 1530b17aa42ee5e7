import { readFully, viewOf } from "./bytes.ts";
import { crc32c } from "./crc32c.ts";
import { ExtentList } from "./extents.ts";
import { EXTENT_MAGIC, EXTENT_MAX_BLOCKS, INODE_FLAG } from "./format.ts";
import type { DecodedInode } from "./inode.ts";
import { type ReadableDisk, type Superblock, unreadable } from "./superblock_reader.ts";

/** The kernel's deepest extent tree. */
const MAX_DEPTH = 5;
const DIRECT_POINTERS = 12;
const MAX_FILE_BLOCKS = 2 ** 32;

/** An inode with what its map's checksums start with. */
export interface MappedInode {
  readonly inode: DecodedInode;
  /** See `inodeChecksumSeed`; absent without checksums. */
  readonly checksumSeed: number | undefined;
}

/**
 * Counts the blocks that inodes claim. Each block of a disk has one owner, so more claims than blocks
 * mean a hostile disk; that bounds all work.
 */
export class ClaimedBlocks {
  #left: number;

  constructor(blockCount: number) {
    this.#left = blockCount;
  }

  claim(count: number): void {
    this.#left -= count;
    if (this.#left < 0) throw unreadable("its files claim more blocks than the disk has");
  }
}

/** Reads which disk blocks hold an inode's content, from an extent tree or from block pointers. */
export class BlockMapReader {
  readonly #disk: ReadableDisk;
  readonly #superblock: Superblock;
  readonly #claimed: ClaimedBlocks;

  constructor(disk: ReadableDisk, superblock: Superblock, claimed: ClaimedBlocks) {
    this.#disk = disk;
    this.#superblock = superblock;
    this.#claimed = claimed;
  }

  /**
   * @returns runs within the file's size; holes and unwritten blocks are left out
   * @throws {BangerError} `corrupt_data`
   */
  async read(mapped: MappedInode): Promise<ExtentList> {
    const collector = new RunCollector(this.#superblock, this.#claimed, mapped.inode.sizeBytes);
    if (mapped.inode.flags & INODE_FLAG.extents) await this.#readTree(mapped, collector);
    else await this.#readPointers(mapped.inode.iBlock, collector);
    return collector.runs;
  }

  /** Depth first, with a stack of nodes to come. */
  async #readTree({ inode, checksumSeed }: MappedInode, collector: RunCollector): Promise<void> {
    const root = viewOf(inode.iBlock);
    const depth = root.getUint16(6, true);
    if (depth > MAX_DEPTH) throw unreadable("an extent tree is too deep");
    const waiting: { node: DataView | number; depth: number }[] = [{ node: root, depth }];
    for (let next = waiting.pop(); next; next = waiting.pop()) {
      const isRoot = typeof next.node !== "number";
      const node = typeof next.node === "number" ? await this.#readNode(next.node, checksumSeed) : next.node;
      const count = checkNode(node, next.depth, isRoot);
      const children: typeof waiting = [];
      for (let i = 0; i < count; i++) {
        const at = 12 + i * 12;
        if (next.depth === 0) addExtent(node, at, collector);
        else children.push({ node: childOf(node, at), depth: next.depth - 1 });
      }
      for (const child of children.reverse()) waiting.push(child);
    }
  }

  async #readNode(block: number, checksumSeed: number | undefined): Promise<DataView> {
    const bytes = await this.#readBlock(block);
    const view = viewOf(bytes);
    const tail = 12 + view.getUint16(4, true) * 12;
    if (checksumSeed !== undefined) {
      const fits = tail + 4 <= bytes.length &&
        view.getUint32(tail, true) === crc32c(checksumSeed, bytes.subarray(0, tail));
      if (!fits) throw unreadable(`the checksum of extent block ${block} is wrong`);
    }
    return view;
  }

  async #readBlock(block: number): Promise<Uint8Array> {
    const { blockSize, blockCount } = this.#superblock;
    if (block === 0 || block >= blockCount) throw unreadable(`block ${block} is beyond the disk`);
    this.#claimed.claim(1);
    return await readFully(this.#disk, block * blockSize, blockSize);
  }

  /** As in ext2: twelve direct pointers, then a single, a double and a triple indirect one. */
  async #readPointers(iBlock: Uint8Array, collector: RunCollector): Promise<void> {
    const pointers = viewOf(iBlock);
    for (let i = 0; i < DIRECT_POINTERS; i++) collector.addPointer(i, pointers.getUint32(i * 4, true));
    const perBlock = this.#superblock.blockSize / 4;
    let logical = DIRECT_POINTERS;
    for (let level = 1; level <= 3; level++) {
      const block = pointers.getUint32((DIRECT_POINTERS - 1 + level) * 4, true);
      if (block !== 0) await this.#readIndirect(block, level, logical, collector);
      logical += perBlock ** level;
    }
  }

  /** @param level 1 where the block holds pointers to data; recursion ends at three */
  async #readIndirect(block: number, level: number, logical: number, collector: RunCollector): Promise<void> {
    const pointers = viewOf(await this.#readBlock(block));
    const perBlock = this.#superblock.blockSize / 4;
    for (let i = 0; i < perBlock; i++) {
      const pointer = pointers.getUint32(i * 4, true);
      if (pointer === 0) continue;
      const at = logical + i * perBlock ** (level - 1);
      if (level === 1) collector.addPointer(at, pointer);
      else await this.#readIndirect(pointer, level - 1, at, collector);
    }
  }
}

function checkNode(node: DataView, depth: number, isRoot: boolean): number {
  const count = node.getUint16(2, true);
  const fits = node.getUint16(0, true) === EXTENT_MAGIC && node.getUint16(6, true) === depth &&
    12 + count * 12 <= node.byteLength && (count > 0 || (isRoot && depth === 0));
  if (!fits) throw unreadable("an extent tree's node is impossible");
  return count;
}

function childOf(node: DataView, at: number): number {
  return node.getUint32(at + 4, true) + node.getUint16(at + 8, true) * 2 ** 32;
}

function addExtent(node: DataView, at: number, collector: RunCollector): void {
  const stored = node.getUint16(at + 4, true);
  const written = stored <= EXTENT_MAX_BLOCKS;
  const physical = node.getUint32(at + 8, true) + node.getUint16(at + 6, true) * 2 ** 32;
  collector.add(node.getUint32(at, true), physical, written ? stored : stored - EXTENT_MAX_BLOCKS, written);
}

/** Checks runs as they come and keeps the part within the file's size. */
class RunCollector {
  readonly runs = new ExtentList();
  readonly #superblock: Superblock;
  readonly #claimed: ClaimedBlocks;
  readonly #fileBlocks: number;
  /** Runs must begin here or later. */
  #nextLogical = 0;

  constructor(superblock: Superblock, claimed: ClaimedBlocks, sizeBytes: number) {
    this.#superblock = superblock;
    this.#claimed = claimed;
    this.#fileBlocks = Math.ceil(sizeBytes / superblock.blockSize);
    if (this.#fileBlocks > MAX_FILE_BLOCKS) throw unreadable("a file's size is impossible");
  }

  add(logical: number, physical: number, length: number, written: boolean): void {
    const { firstDataBlock, blockCount } = this.#superblock;
    const fits = length > 0 && logical >= this.#nextLogical && physical > firstDataBlock &&
      physical + length <= blockCount;
    if (!fits) throw unreadable("a file's extent is impossible");
    this.#nextLogical = logical + length;
    this.#claimed.claim(length);
    const inside = Math.min(length, this.#fileBlocks - logical);
    if (written && inside > 0) this.runs.add(logical, physical, inside);
  }

  /** @param physical 0 for a hole */
  addPointer(logical: number, physical: number): void {
    if (physical !== 0) this.add(logical, physical, 1, true);
  }
}
