import type { BlockAllocator } from "./allocator.ts";
import { BLOCKS_PER_GROUP } from "./format.ts";
import { backupGroups, hasBackup, type Layout } from "./geometry.ts";
import type { BlockUsage } from "./usage.ts";

/** Where each group's bitmaps and inode table lie. */
export class GroupPlaces {
  readonly #layout: Layout;
  readonly #descriptorArea: number;
  readonly #displaced = new Map<number, { blockBitmap: number; inodeBitmap: number; inodeTable: number }>();

  /** Takes the blocks of groups that cannot keep theirs at home, tables of one kind together. */
  constructor(layout: Layout, allocator: BlockAllocator, usage: BlockUsage) {
    this.#layout = layout;
    this.#descriptorArea = allocator.descriptorArea;
    const displaced = this.displacedGroups();
    const take = (count: number) => {
      const start = allocator.takeWhole(count);
      usage.mark(start, count);
      return start;
    };
    const blockBitmaps = displaced.map(() => take(1));
    const inodeBitmaps = displaced.map(() => take(1));
    displaced.forEach((group, i) => {
      const inodeTable = take(layout.inodeTableBlocks);
      this.#displaced.set(group, {
        blockBitmap: blockBitmaps[i]!,
        inodeBitmap: inodeBitmaps[i]!,
        inodeTable,
      });
      if (hasBackup(group)) usage.mark(group * BLOCKS_PER_GROUP, 1 + this.#descriptorArea);
    });
    // Blocks past the end of the disk count as used.
    usage.mark(layout.blockCount, layout.groupCount * BLOCKS_PER_GROUP - layout.blockCount);
  }

  /** Those that contents or metadata reach, and the last one. */
  displacedGroups(): number[] {
    const { displacedGroups, groupCount } = this.#layout;
    const groups = Array.from({ length: displacedGroups }, (_, group) => group);
    if (displacedGroups < groupCount) groups.push(groupCount - 1);
    return groups;
  }

  /** Whether the group's block bitmap is on the disk; else the kernel works it out. */
  isDisplaced(group: number): boolean {
    return this.#displaced.has(group);
  }

  of(group: number): { blockBitmap: number; inodeBitmap: number; inodeTable: number } {
    const displaced = this.#displaced.get(group);
    if (displaced) return displaced;
    const blockBitmap = group * BLOCKS_PER_GROUP + this.backupBlocks(group);
    return { blockBitmap, inodeBitmap: blockBitmap + 1, inodeTable: blockBitmap + 2 };
  }

  /** Superblock and descriptors, reserved ones included, at the group's start. */
  backupBlocks(group: number): number {
    return hasBackup(group) ? 1 + this.#descriptorArea : 0;
  }

  /** `s_overhead_clusters`: all that can never hold a file. */
  get overheadBlocks(): number {
    const { groupCount, inodeTableBlocks, journalBlocks } = this.#layout;
    const copies = 1 + backupGroups(groupCount).length;
    return copies * (1 + this.#descriptorArea) + groupCount * (2 + inodeTableBlocks) + journalBlocks;
  }
}
