/**
 * Numbers of the on-disk format. Source: Linux Documentation/filesystems/ext4 and fs/ext4/ext4.h.
 */

/** What the writer makes; the reader also takes 1, 2 and 64 KiB. */
export const BLOCK_SIZE = 4096;
export const BLOCKS_PER_GROUP = 32768;
export const INODE_SIZE = 256;
export const DESCRIPTOR_SIZE = 64;
export const DESCRIPTORS_PER_BLOCK = BLOCK_SIZE / DESCRIPTOR_SIZE;
/** `i_blocks` counts these. */
export const SECTORS_PER_BLOCK = BLOCK_SIZE / 512;

export const SUPERBLOCK_OFFSET = 1024;
export const SUPERBLOCK_SIZE = 1024;
export const SUPERBLOCK_MAGIC = 0xef53;

export const ROOT_INODE = 2;
export const RESIZE_INODE = 7;
export const JOURNAL_INODE = 8;
/** The first inode that is no special one; mke2fs and e2fsck keep lost+found there. */
export const LOST_AND_FOUND_INODE = 11;

export const COMPAT = { hasJournal: 0x4, extAttr: 0x8, resizeInode: 0x10, dirIndex: 0x20 } as const;
export const INCOMPAT = {
  filetype: 0x2,
  recover: 0x4,
  journalDevice: 0x8,
  metaBg: 0x10,
  extents: 0x40,
  is64bit: 0x80,
  mmp: 0x100,
  flexBg: 0x200,
  eaInode: 0x400,
  dirdata: 0x1000,
  checksumSeed: 0x2000,
  largeDir: 0x4000,
  inlineData: 0x8000,
  encrypt: 0x10000,
  casefold: 0x20000,
} as const;
export const RO_COMPAT = {
  sparseSuper: 0x1,
  largeFile: 0x2,
  hugeFile: 0x8,
  gdtChecksum: 0x10,
  dirNlink: 0x20,
  extraIsize: 0x40,
  bigalloc: 0x200,
  metadataChecksum: 0x400,
} as const;

/** `i_flags` */
export const INODE_FLAG = {
  index: 0x1000,
  hugeFile: 0x40000,
  extents: 0x80000,
  inlineData: 0x10000000,
} as const;

/** `bg_flags` */
export const GROUP_FLAG = { inodeUninit: 0x1, blockUninit: 0x2, inodeZeroed: 0x4 } as const;

/** Type bits of `i_mode`. */
export const MODE_TYPE = {
  "fifo": 0o010000,
  "character-device": 0o020000,
  "directory": 0o040000,
  "block-device": 0o060000,
  "file": 0o100000,
  "symlink": 0o120000,
  "socket": 0o140000,
} as const;
export const MODE_TYPE_MASK = 0o170000;

/** `file_type` of a directory entry. */
export const ENTRY_TYPE = {
  "file": 1,
  "directory": 2,
  "character-device": 3,
  "block-device": 4,
  "fifo": 5,
  "socket": 6,
  "symlink": 7,
} as const;
/** `file_type` of the fake entry that holds a directory block's checksum. */
export const ENTRY_TYPE_CHECKSUM = 0xde;

export const EXTENT_MAGIC = 0xf30a;
/** An initialized extent's longest; more in the length field means "uninitialized". */
export const EXTENT_MAX_BLOCKS = 32768;
export const EXTENTS_IN_INODE = 4;
/** 12 bytes each after a 12-byte header, with 4 bytes left for the checksum. */
export const EXTENTS_PER_BLOCK = Math.floor((BLOCK_SIZE - 12) / 12);

export const XATTR_MAGIC = 0xea020000;
export const MAX_NAME_BYTES = 255;
/** A longer symlink target goes to a block of its own. */
export const MAX_FAST_SYMLINK_BYTES = 59;
export const MAX_LINKS = 65000;

/** `i_block`: 15 pointers, or an extent tree's root, or a short symlink's target. */
export const I_BLOCK_BYTES = 60;
