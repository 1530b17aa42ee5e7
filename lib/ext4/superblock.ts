import type { Timestamp } from "../base/tree.ts";
import { viewOf } from "./bytes.ts";
import { crc32c, CRC32C_START } from "./crc32c.ts";
import {
  BLOCKS_PER_GROUP,
  COMPAT,
  DESCRIPTOR_SIZE,
  INCOMPAT,
  INODE_SIZE,
  LOST_AND_FOUND_INODE,
  RO_COMPAT,
  SUPERBLOCK_MAGIC,
  SUPERBLOCK_SIZE,
} from "./format.ts";
import type { Layout } from "./geometry.ts";
import { HASH_HALF_MD4 } from "./name_hash.ts";

/** Who a filesystem is: all that does not follow from its contents. */
export interface Identity {
  /** 16 bytes */
  readonly uuid: Uint8Array;
  /** UTF-8, at most 16 bytes. */
  readonly label: Uint8Array;
  readonly timestamp: Timestamp;
  /** 16 bytes, not all zero. */
  readonly hashSeed: Uint8Array;
  /** What every metadata checksum starts with. */
  readonly checksumSeed: number;
}

export interface SuperblockFields {
  readonly identity: Identity;
  readonly layout: Layout;
  readonly freeBlocks: number;
  readonly freeInodes: number;
  /** Superblocks, descriptors, bitmaps, inode tables and journal. */
  readonly overheadBlocks: number;
  /** The journal inode's `i_block` and size; absent without a journal. */
  readonly journal: { readonly iBlock: Uint8Array; readonly sizeBytes: number } | undefined;
}

const STATE_CLEAN = 1;
const ERRORS_CONTINUE = 1;
const MOUNT_XATTR_AND_ACL = 0x4 | 0x8;
const SIGNED_HASH = 0x1;
const CHECKSUM_CRC32C = 1;
const JOURNAL_BACKUP_BLOCKS = 1;
const LOG_GROUPS_PER_FLEX = 4;
/** `s_want_extra_isize`: up to and with `i_projid`. */
const EXTRA_INODE_SIZE = 32;

/**
 * @param group the group that this copy lies in
 * @returns 1024 bytes
 * Source: Linux Documentation/filesystems/ext4, "Super Block"
 */
export function encodeSuperblock(fields: SuperblockFields, group: number): Uint8Array {
  const bytes = new Uint8Array(SUPERBLOCK_SIZE);
  const view = viewOf(bytes);
  const { identity, layout } = fields;
  const u16 = (at: number, value: number) => view.setUint16(at, value, true);
  const u32 = (at: number, value: number) => view.setUint32(at, value, true);
  u32(0x00, layout.inodesPerGroup * layout.groupCount); // s_inodes_count
  u32(0x04, layout.blockCount);
  u32(0x0c, fields.freeBlocks);
  u32(0x10, fields.freeInodes);
  u32(0x18, 2); // s_log_block_size: 1024 << 2
  u32(0x1c, 2); // s_log_cluster_size
  u32(0x20, BLOCKS_PER_GROUP);
  u32(0x24, BLOCKS_PER_GROUP); // s_clusters_per_group
  u32(0x28, layout.inodesPerGroup);
  u16(0x36, 0xffff); // s_max_mnt_count: never force a check
  u16(0x38, SUPERBLOCK_MAGIC);
  u16(0x3a, STATE_CLEAN);
  u16(0x3c, ERRORS_CONTINUE);
  u32(0x4c, 1); // s_rev_level: dynamic
  u32(0x54, LOST_AND_FOUND_INODE); // s_first_ino
  u16(0x58, INODE_SIZE);
  u16(0x5a, group);
  encodeFeatures(view, layout);
  bytes.set(identity.uuid, 0x68);
  bytes.set(identity.label, 0x78);
  u16(0xce, layout.reservedDescriptorBlocks);
  bytes.set(identity.hashSeed, 0xec);
  view.setUint8(0xfc, HASH_HALF_MD4);
  u16(0xfe, DESCRIPTOR_SIZE);
  u32(0x100, MOUNT_XATTR_AND_ACL);
  encodeJournal(bytes, view, fields.journal);
  u16(0x15c, EXTRA_INODE_SIZE); // s_min_extra_isize
  u16(0x15e, EXTRA_INODE_SIZE);
  u32(0x160, SIGNED_HASH);
  view.setUint8(0x174, LOG_GROUPS_PER_FLEX);
  view.setUint8(0x175, CHECKSUM_CRC32C);
  u32(0x248, fields.overheadBlocks);
  u32(0x268, LOST_AND_FOUND_INODE); // s_lpf_ino
  encodeTimes(view, identity.timestamp);
  u32(0x3fc, crc32c(CRC32C_START, bytes.subarray(0, 0x3fc)));
  return bytes;
}

function encodeFeatures(view: DataView, layout: Layout): void {
  const journal = layout.journalBlocks > 0 ? COMPAT.hasJournal : 0;
  view.setUint32(0x5c, journal | COMPAT.extAttr | COMPAT.resizeInode | COMPAT.dirIndex, true);
  view.setUint32(0x60, INCOMPAT.filetype | INCOMPAT.extents | INCOMPAT.is64bit | INCOMPAT.flexBg, true);
  view.setUint32(
    0x64,
    RO_COMPAT.sparseSuper | RO_COMPAT.largeFile | RO_COMPAT.hugeFile | RO_COMPAT.dirNlink |
      RO_COMPAT.extraIsize | RO_COMPAT.metadataChecksum,
    true,
  );
}

/** Where the journal lies, once more: e2fsck mends a broken journal inode from it. */
function encodeJournal(bytes: Uint8Array, view: DataView, journal: SuperblockFields["journal"]): void {
  if (!journal) return;
  view.setUint32(0xe0, 8, true); // s_journal_inum
  view.setUint8(0xfd, JOURNAL_BACKUP_BLOCKS);
  bytes.set(journal.iBlock, 0x10c);
  view.setUint32(0x10c + 64, journal.sizeBytes, true);
}

/** Seconds in 40 bits; times before 1970 have no form here. */
function encodeTimes(view: DataView, timestamp: Timestamp): void {
  const seconds = Math.max(0, timestamp.seconds);
  const places = [[0x30, 0x274], [0x40, 0x277], [0x108, 0x276]] as const; // written, checked, made
  for (const [low, high] of places) {
    view.setUint32(low, seconds, true);
    view.setUint8(high, Math.floor(seconds / 2 ** 32));
  }
}
