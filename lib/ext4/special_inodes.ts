import type { Timestamp } from "../base/tree.ts";
import type { BlockAllocator } from "./allocator.ts";
import { viewOf } from "./bytes.ts";
import { buildExtentTree, ExtentList } from "./extents.ts";
import {
  BLOCK_SIZE,
  BLOCKS_PER_GROUP,
  I_BLOCK_BYTES,
  INODE_FLAG,
  JOURNAL_INODE,
  MODE_TYPE,
  SECTORS_PER_BLOCK,
} from "./format.ts";
import { backupGroups, type Layout } from "./geometry.ts";
import { inodeChecksumSeed, type InodeFields } from "./inode.ts";
import type { BlockPlacer, SerialOutput } from "./output.ts";
import type { Identity } from "./superblock.ts";
import type { BlockUsage } from "./usage.ts";

/** What the special inodes are made with. */
export interface DiskParts {
  readonly identity: Identity;
  readonly layout: Layout;
  readonly allocator: BlockAllocator;
  readonly usage: BlockUsage;
  readonly output: SerialOutput;
  readonly placer: BlockPlacer;
}

const POINTERS_PER_BLOCK = BLOCK_SIZE / 4;
const DOUBLE_INDIRECT = 13;
const MODE_PRIVATE_FILE = MODE_TYPE.file | 0o600;

function specialInode(
  timestamp: Timestamp,
  sizeBytes: number,
  blocks: number,
  flags: number,
  iBlock: Uint8Array,
): InodeFields {
  return {
    mode: MODE_PRIVATE_FILE,
    uid: 0,
    gid: 0,
    sizeBytes,
    links: 1,
    sectors: blocks * SECTORS_PER_BLOCK,
    flags,
    time: timestamp,
    iBlock,
    xattrBlock: 0,
    xattrBytes: undefined,
  };
}

/**
 * Inode 7: owns the reserved descriptor blocks, so that a filesystem can grow while mounted. Its double
 * indirect block points to the reserved blocks of group 0; each of them lists its copies.
 *
 * Source: Linux fs/ext4/resize.c, `reserve_backup_gdb`; e2fsprogs lib/ext2fs/res_gdt.c
 */
export async function writeResizeInode(parts: DiskParts): Promise<InodeFields> {
  const { layout, output, usage, allocator } = parts;
  const reserved = layout.reservedDescriptorBlocks;
  const copies = backupGroups(layout.groupCount);
  const first = 1 + layout.descriptorBlocks;
  const pointers = new Uint8Array(BLOCK_SIZE);
  const lists = new Uint8Array(reserved * BLOCK_SIZE);
  const listsView = viewOf(lists);
  for (let i = 0; i < reserved; i++) {
    const slot = (layout.descriptorBlocks + i) % POINTERS_PER_BLOCK;
    viewOf(pointers).setUint32(slot * 4, first + i, true);
    copies.forEach((group, at) =>
      listsView.setUint32(i * BLOCK_SIZE + at * 4, group * BLOCKS_PER_GROUP + first + i, true)
    );
  }
  const doubleIndirect = allocator.takeWhole(1);
  usage.mark(doubleIndirect, 1);
  await output.write(pointers, doubleIndirect * BLOCK_SIZE);
  if (reserved > 0 && copies.length > 0) await output.write(lists, first * BLOCK_SIZE);

  const iBlock = new Uint8Array(I_BLOCK_BYTES);
  viewOf(iBlock).setUint32(DOUBLE_INDIRECT * 4, doubleIndirect, true);
  const mapped = POINTERS_PER_BLOCK * POINTERS_PER_BLOCK + POINTERS_PER_BLOCK + 12;
  const blocks = 1 + reserved * (1 + copies.length);
  return specialInode(parts.identity.timestamp, mapped * BLOCK_SIZE, blocks, 0, iBlock);
}

const JOURNAL_MAGIC = 0xc03b3998;
const JOURNAL_SUPERBLOCK_V2 = 4;

/** Inode 8: an empty journal. Its superblock is big-endian. Source: Linux Documentation, "Journal (jbd2)". */
export async function writeJournalInode(parts: DiskParts): Promise<InodeFields> {
  const { layout, identity, allocator, usage, output, placer } = parts;
  const extents = new ExtentList();
  for (let logical = 0; logical < layout.journalBlocks;) {
    const { start, count } = allocator.take(layout.journalBlocks - logical);
    usage.mark(start, count);
    extents.add(logical, start, count);
    logical += count;
  }
  const superblock = new Uint8Array(BLOCK_SIZE);
  const view = viewOf(superblock);
  view.setUint32(0x00, JOURNAL_MAGIC);
  view.setUint32(0x04, JOURNAL_SUPERBLOCK_V2);
  view.setUint32(0x0c, BLOCK_SIZE);
  view.setUint32(0x10, layout.journalBlocks);
  view.setUint32(0x14, 1); // s_first
  view.setUint32(0x18, 1); // s_sequence
  superblock.set(identity.uuid, 0x30);
  view.setUint32(0x40, 1); // s_nr_users
  await output.write(superblock, [...extents][0]!.physical * BLOCK_SIZE);

  const seed = inodeChecksumSeed(identity.checksumSeed, JOURNAL_INODE);
  const { iBlock, treeBlocks } = await buildExtentTree(extents, seed, placer);
  const blocks = layout.journalBlocks + treeBlocks;
  const sizeBytes = layout.journalBlocks * BLOCK_SIZE;
  return specialInode(identity.timestamp, sizeBytes, blocks, INODE_FLAG.extents, iBlock);
}
