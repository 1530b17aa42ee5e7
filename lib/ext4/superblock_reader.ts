import { BangerError } from "../base/errors.ts";
import type { RandomAccessFile } from "../base/host.ts";

import { readFully, viewOf } from "./bytes.ts";
import { crc32c, CRC32C_START } from "./crc32c.ts";
import {
  COMPAT,
  DESCRIPTOR_SIZE,
  INCOMPAT,
  RO_COMPAT,
  SUPERBLOCK_MAGIC,
  SUPERBLOCK_OFFSET,
  SUPERBLOCK_SIZE,
} from "./format.ts";

/** A disk that is only read. */
export type ReadableDisk = Pick<RandomAccessFile, "readAt" | "sizeBytes">;

/** What the superblock says, checked so far that all numbers are usable. */
export interface Superblock {
  readonly blockSize: number;
  readonly blockCount: number;
  readonly freeBlocks: number;
  readonly reservedBlocks: number;
  readonly firstDataBlock: number;
  readonly blocksPerGroup: number;
  readonly groupCount: number;
  readonly inodeCount: number;
  readonly freeInodes: number;
  readonly inodesPerGroup: number;
  readonly inodeSize: number;
  readonly descriptorSize: number;
  readonly compat: number;
  readonly incompat: number;
  readonly roCompat: number;
  readonly uuid: Uint8Array;
  readonly label: string;
  /** Absent without metadata checksums. */
  readonly checksumSeed: number | undefined;
}

export function unreadable(why: string): BangerError {
  return new BangerError(
    "corrupt_data",
    `Cannot read the ext4 filesystem: ${why}`,
    "Check it with e2fsck -fn",
  );
}

/** @throws {BangerError} `corrupt_data` for what is no ext2, ext3 or ext4 superblock */
export async function readSuperblock(disk: ReadableDisk): Promise<Superblock> {
  const bytes = await readFully(disk, SUPERBLOCK_OFFSET, SUPERBLOCK_SIZE);
  const view = viewOf(bytes);
  if (view.getUint16(0x38, true) !== SUPERBLOCK_MAGIC) throw unreadable("it has no superblock");
  const u16 = (at: number) => view.getUint16(at, true);
  const u32 = (at: number) => view.getUint32(at, true);
  const roCompat = u32(0x64);
  if (
    roCompat & RO_COMPAT.metadataChecksum && crc32c(CRC32C_START, bytes.subarray(0, 0x3fc)) !== u32(0x3fc)
  ) {
    throw unreadable("the superblock's checksum is wrong");
  }
  const incompat = u32(0x60);
  const wide = (incompat & INCOMPAT.is64bit) !== 0;
  const wide32 = (low: number, high: number) => u32(low) + (wide ? u32(high) * 2 ** 32 : 0);
  const dynamic = u32(0x4c) > 0;
  const blockCount = wide32(0x04, 0x150);
  const firstDataBlock = u32(0x14);
  const blocksPerGroup = u32(0x20);
  const uuid = bytes.slice(0x68, 0x78);
  const superblock: Superblock = {
    blockSize: 1024 * 2 ** Math.min(u32(0x18), 32),
    blockCount,
    freeBlocks: wide32(0x0c, 0x158),
    reservedBlocks: wide32(0x08, 0x154),
    firstDataBlock,
    blocksPerGroup,
    groupCount: Math.ceil((blockCount - firstDataBlock) / blocksPerGroup),
    inodeCount: u32(0x00),
    freeInodes: u32(0x10),
    inodesPerGroup: u32(0x28),
    inodeSize: dynamic ? u16(0x58) : 128,
    descriptorSize: wide ? u16(0xfe) : 32,
    compat: u32(0x5c),
    incompat,
    roCompat,
    uuid,
    label: readLabel(bytes.subarray(0x78, 0x88)),
    checksumSeed: checksumSeedOf(roCompat, incompat, uuid, u32(0x270)),
  };
  checkNumbers(superblock, await disk.sizeBytes());
  return superblock;
}

function checksumSeedOf(
  roCompat: number,
  incompat: number,
  uuid: Uint8Array,
  stored: number,
): number | undefined {
  if ((roCompat & RO_COMPAT.metadataChecksum) === 0) return undefined;
  return incompat & INCOMPAT.checksumSeed ? stored : crc32c(CRC32C_START, uuid);
}

function readLabel(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  return new TextDecoder().decode(end < 0 ? bytes : bytes.subarray(0, end));
}

function isPowerOfTwo(value: number): boolean {
  return value > 0 && (value & (value - 1)) === 0;
}

function checkNumbers(superblock: Superblock, fileBytes: number): void {
  const { blockSize, blockCount, firstDataBlock, blocksPerGroup, inodesPerGroup } = superblock;
  const { inodeSize, descriptorSize, inodeCount, groupCount, freeBlocks, freeInodes } = superblock;
  const problem = blockSize > 65536
    ? "its block size is unknown"
    : blockCount > 2 ** 48 || blockCount * blockSize > fileBytes
    ? "it is larger than its disk"
    : firstDataBlock > 1 || blockCount <= firstDataBlock
    ? "its first block is impossible"
    : blocksPerGroup === 0 || blocksPerGroup > blockSize * 8 || inodesPerGroup > blockSize * 8
    ? "its groups are too large"
    : !isPowerOfTwo(inodeSize) || inodeSize < 128 || inodeSize > blockSize
    ? "its inode size is impossible"
    : descriptorSize !== 32 &&
        (!isPowerOfTwo(descriptorSize) || descriptorSize < DESCRIPTOR_SIZE || descriptorSize > 1024)
    ? "its descriptor size is impossible"
    : inodeCount === 0 || inodeCount !== inodesPerGroup * groupCount
    ? "its number of inodes is impossible"
    : freeBlocks > blockCount || freeInodes > inodeCount
    ? "its free counts are impossible"
    : undefined;
  if (problem) throw unreadable(problem);
}

const FEATURE_NAMES: readonly (readonly ["compat" | "incompat" | "roCompat", number, string])[] = [
  ["compat", COMPAT.hasJournal, "has_journal"],
  ["compat", COMPAT.extAttr, "ext_attr"],
  ["compat", COMPAT.resizeInode, "resize_inode"],
  ["compat", COMPAT.dirIndex, "dir_index"],
  ["incompat", INCOMPAT.filetype, "filetype"],
  ["incompat", INCOMPAT.recover, "needs_recovery"],
  ["incompat", INCOMPAT.journalDevice, "journal_dev"],
  ["incompat", INCOMPAT.metaBg, "meta_bg"],
  ["incompat", INCOMPAT.extents, "extent"],
  ["incompat", INCOMPAT.is64bit, "64bit"],
  ["incompat", INCOMPAT.mmp, "mmp"],
  ["incompat", INCOMPAT.flexBg, "flex_bg"],
  ["incompat", INCOMPAT.eaInode, "ea_inode"],
  ["incompat", INCOMPAT.dirdata, "dirdata"],
  ["incompat", INCOMPAT.checksumSeed, "metadata_csum_seed"],
  ["incompat", INCOMPAT.largeDir, "large_dir"],
  ["incompat", INCOMPAT.inlineData, "inline_data"],
  ["incompat", INCOMPAT.encrypt, "encrypt"],
  ["incompat", INCOMPAT.casefold, "casefold"],
  ["roCompat", RO_COMPAT.sparseSuper, "sparse_super"],
  ["roCompat", RO_COMPAT.largeFile, "large_file"],
  ["roCompat", RO_COMPAT.hugeFile, "huge_file"],
  ["roCompat", RO_COMPAT.gdtChecksum, "uninit_bg"],
  ["roCompat", RO_COMPAT.dirNlink, "dir_nlink"],
  ["roCompat", RO_COMPAT.extraIsize, "extra_isize"],
  ["roCompat", RO_COMPAT.bigalloc, "bigalloc"],
  ["roCompat", RO_COMPAT.metadataChecksum, "metadata_csum"],
];

/** e2fsprogs' names of the features set, in the order of their bits; unknown ones are left out. */
export function featureNames(superblock: Superblock): string[] {
  return FEATURE_NAMES.filter(([word, bit]) => (superblock[word] & bit) !== 0).map(([, , name]) => name);
}

/** Features that change no layout that the reader looks at. */
const READABLE = INCOMPAT.filetype | INCOMPAT.extents | INCOMPAT.is64bit | INCOMPAT.mmp | INCOMPAT.flexBg |
  INCOMPAT.checksumSeed | INCOMPAT.largeDir;

/** @throws {BangerError} `wrong_state` for an unclean disk, `host_unsupported` for features not known here */
export function checkReadable(superblock: Superblock): void {
  if (superblock.incompat & INCOMPAT.recover) {
    throw new BangerError(
      "wrong_state",
      "Cannot read the ext4 filesystem: it was not unmounted, and its journal is not replayed",
      "Start and stop the VM once, or run e2fsck on the disk",
    );
  }
  const strange = superblock.incompat & ~READABLE;
  if (strange === 0) return;
  const known = FEATURE_NAMES.filter(([word, bit]) => word === "incompat" && strange & bit).map((
    [, , name],
  ) => name);
  throw new BangerError(
    "host_unsupported",
    `Cannot read the ext4 filesystem: it uses ${
      known.join(", ") || `feature 0x${(strange >>> 0).toString(16)}`
    }`,
    "Make it with mke2fs's default features",
  );
}
