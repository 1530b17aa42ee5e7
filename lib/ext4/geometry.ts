import { BangerError } from "../base/errors.ts";
import { formatBytes, GIB, MIB } from "../base/units.ts";
import { divideUp, roundUp } from "./bytes.ts";
import { BLOCK_SIZE, BLOCKS_PER_GROUP, DESCRIPTORS_PER_BLOCK } from "./format.ts";

/** Sixteen tebibytes less a group: block numbers of the resize inode have 32 bits. */
export const MAX_FILESYSTEM_BYTES = (2 ** 32 - BLOCKS_PER_GROUP) * BLOCK_SIZE;
export const MIN_FILESYSTEM_BYTES = 1 * MIB;
const DEFAULT_MIN_BYTES = 1 * GIB;

/** Descriptor blocks, reserved ones included, of a disk that may grow to 4 TiB. */
const DEFAULT_DESCRIPTOR_AREA = 512;
/** `s_reserved_gdt_blocks` is bounded by the pointers in the resize inode's block. */
const MAX_RESERVED_DESCRIPTOR_BLOCKS = 1024;
/** mke2fs reserves descriptors for growing by this factor. */
const GROWTH_FACTOR = 1024;

const MAX_INODES_PER_GROUP = BLOCK_SIZE * 8;
/** Inodes per inode table block; tables are filled to whole blocks. */
const INODES_STEP = 16;

/** With sparse_super: groups 0, 1 and the powers of 3, 5 and 7 hold superblock and descriptors. */
export function hasBackup(group: number): boolean {
  if (group <= 1) return true;
  return [3, 5, 7].some((base) => {
    let power = base;
    while (power < group) power *= base;
    return power === group;
  });
}

/** Groups after 0 with a backup, ascending. */
export function backupGroups(groupCount: number): number[] {
  const groups = new Set([1]);
  for (const base of [3, 5, 7]) {
    for (let power = base; power < groupCount; power *= base) groups.add(power);
  }
  return [...groups].filter((group) => group < groupCount).sort((a, b) => a - b);
}

/**
 * Journal blocks as mke2fs chooses them, at most 64 MiB; 0 for disks too small for one.
 * Exported for tests.
 */
export function journalBlocksFor(blockCount: number): number {
  if (blockCount < 2048) return 0;
  if (blockCount < 32768) return 1024;
  if (blockCount < 262144) return 4096;
  if (blockCount < 524288) return 8192;
  return 16384;
}

/** mke2fs's bytes per inode: "big" filesystems have fewer. */
function bytesPerInode(blockCount: number): number {
  return blockCount * BLOCK_SIZE < 4096 * GIB ? 16384 : 32768;
}

/**
 * Descriptor blocks plus reserved ones at the start of each group with a backup. It must be known before
 * the first content is placed, so a disk of unknown size gets room for 4 TiB.
 */
export function descriptorArea(sizeBytes: number | undefined): number {
  if (sizeBytes === undefined) return DEFAULT_DESCRIPTOR_AREA;
  const groups = divideUp(Math.floor(sizeBytes / BLOCK_SIZE), BLOCKS_PER_GROUP);
  const needed = divideUp(groups, DESCRIPTORS_PER_BLOCK);
  const growth = divideUp(groups * GROWTH_FACTOR, DESCRIPTORS_PER_BLOCK);
  return Math.min(
    needed + MAX_RESERVED_DESCRIPTOR_BLOCKS,
    Math.max(needed, Math.min(growth, DEFAULT_DESCRIPTOR_AREA), Math.min(2 * needed, 2048)),
  );
}

/** What has to fit. All in blocks or inodes. */
export interface Demand {
  /** First block after the contents. */
  readonly contentEnd: number;
  /** Directories, extent trees, xattrs, long symlinks: at most so many. */
  readonly metadataBlocks: number;
  /** Highest inode number used. */
  readonly inodes: number;
  readonly descriptorArea: number;
  readonly sizeBytes: number | undefined;
}

export interface Layout {
  readonly sizeBytes: number;
  readonly blockCount: number;
  readonly groupCount: number;
  readonly inodesPerGroup: number;
  readonly inodeTableBlocks: number;
  readonly descriptorBlocks: number;
  readonly reservedDescriptorBlocks: number;
  readonly journalBlocks: number;
  /**
   * Groups before this one hold contents, so their bitmaps and inode tables lie together after the
   * contents. Later groups hold their own and nothing else.
   */
  readonly displacedGroups: number;
}

/**
 * Chooses size, groups and inodes so that everything fits.
 *
 * @throws {BangerError} `no_space` when it cannot fit into the size that was asked for
 */
export function planLayout(demand: Demand): Layout {
  if (demand.sizeBytes !== undefined) {
    const layout = tryLayout(demand, demand.sizeBytes);
    if (layout) return layout;
    throw noSpace(demand.sizeBytes, demand.contentEnd + demand.metadataBlocks);
  }
  const used = demand.contentEnd + demand.metadataBlocks + journalBlocksFor(demand.contentEnd);
  const groupBytes = BLOCKS_PER_GROUP * BLOCK_SIZE;
  let sizeBytes = roundUp(Math.max(DEFAULT_MIN_BYTES, used * 1.25 * BLOCK_SIZE), groupBytes);
  const maxGroups = demand.descriptorArea * DESCRIPTORS_PER_BLOCK;
  for (; sizeBytes <= maxGroups * groupBytes; sizeBytes += groupBytes) {
    const layout = tryLayout(demand, sizeBytes);
    if (layout) return layout;
  }
  throw noSpace(maxGroups * groupBytes, used);
}

export function noSpace(sizeBytes: number, usedBlocks: number): BangerError {
  return new BangerError(
    "no_space",
    `Cannot write the filesystem: ${formatBytes(usedBlocks * BLOCK_SIZE)} do not fit into ${
      formatBytes(sizeBytes)
    }`,
    `Ask for a disk of at least ${formatBytes(roundUp(usedBlocks * BLOCK_SIZE * 1.25, 128 * MIB))}`,
  );
}

/** The smallest last group worth having, as in mke2fs: its own overhead and 50 blocks. */
function wholeBlockCount(sizeBytes: number, area: number): number {
  const blockCount = Math.floor(sizeBytes / BLOCK_SIZE);
  const lastGroup = divideUp(blockCount, BLOCKS_PER_GROUP) - 1;
  const lastBlocks = blockCount - lastGroup * BLOCKS_PER_GROUP;
  const overhead = hasBackup(lastGroup) ? 1 + area : 0;
  return lastGroup > 0 && lastBlocks < overhead + 50 ? blockCount - lastBlocks : blockCount;
}

function tryLayout(demand: Demand, sizeBytes: number): Layout | undefined {
  const area = demand.descriptorArea;
  const blockCount = wholeBlockCount(sizeBytes, area);
  const groupCount = divideUp(blockCount, BLOCKS_PER_GROUP);
  const descriptorBlocks = divideUp(groupCount, DESCRIPTORS_PER_BLOCK);
  if (descriptorBlocks > area) return undefined;
  const inodesPerGroup = chooseInodesPerGroup(blockCount, groupCount, demand.inodes);
  if (inodesPerGroup === undefined) return undefined;
  const inodeTableBlocks = inodesPerGroup / INODES_STEP;
  const journalBlocks = journalBlocksFor(blockCount);
  const displacedGroups = countDisplacedGroups(
    demand.contentEnd,
    demand.metadataBlocks + journalBlocks + 1,
    { blockCount, groupCount, inodeTableBlocks, area },
  );
  if (displacedGroups === undefined) return undefined;
  return {
    sizeBytes,
    blockCount,
    groupCount,
    inodesPerGroup,
    inodeTableBlocks,
    descriptorBlocks,
    reservedDescriptorBlocks: Math.min(area - descriptorBlocks, MAX_RESERVED_DESCRIPTOR_BLOCKS),
    journalBlocks,
    displacedGroups,
  };
}

function chooseInodesPerGroup(blockCount: number, groupCount: number, inodes: number): number | undefined {
  const usual = (blockCount * BLOCK_SIZE) / bytesPerInode(blockCount);
  const withMargin = inodes + Math.max(64, Math.ceil(inodes / 4));
  const perGroup = roundUp(divideUp(Math.max(usual, withMargin), groupCount), INODES_STEP);
  if (perGroup <= MAX_INODES_PER_GROUP) return perGroup;
  return inodes <= groupCount * MAX_INODES_PER_GROUP ? MAX_INODES_PER_GROUP : undefined;
}

/**
 * How many groups cannot keep their bitmaps and inode table at home, because contents or metadata are
 * there. The last group counts too: it may be too short.
 *
 * @param needed blocks besides bitmaps and tables
 */
function countDisplacedGroups(
  contentEnd: number,
  needed: number,
  disk: { blockCount: number; groupCount: number; inodeTableBlocks: number; area: number },
): number | undefined {
  const { blockCount, groupCount, inodeTableBlocks, area } = disk;
  let room = 0;
  for (let group = Math.floor(contentEnd / BLOCKS_PER_GROUP); group < groupCount; group++) {
    const backup = hasBackup(group) ? 1 + area : 0;
    const start = group * BLOCKS_PER_GROUP + backup;
    const end = Math.min((group + 1) * BLOCKS_PER_GROUP, blockCount);
    room += Math.max(0, end - Math.max(start, contentEnd));
    // A table is one run, so what is left before a backup may be too short for it.
    if (backup > 0) room -= inodeTableBlocks;
    const groupsElsewhere = Math.min(group + 2, groupCount);
    if (needed + groupsElsewhere * (2 + inodeTableBlocks) <= room) return group + 1;
  }
  return undefined;
}
