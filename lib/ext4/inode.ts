import type { Timestamp } from "../base/tree.ts";
import { viewOf } from "./bytes.ts";
import { crc32c, crc32cOfUint32 } from "./crc32c.ts";
import { INODE_SIZE } from "./format.ts";

/** An inode as on the disk. Source: Linux Documentation/filesystems/ext4, "Index Nodes". */
export interface InodeFields {
  /** Permissions and type. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly sizeBytes: number;
  readonly links: number;
  /** 512 bytes each; data, extent blocks and xattr block. */
  readonly sectors: number;
  readonly flags: number;
  /** Change, modification, access and birth all get this: archives keep one time. */
  readonly time: Timestamp;
  /** 60 bytes */
  readonly iBlock: Uint8Array;
  /** 0 for none */
  readonly xattrBlock: number;
  /** At most 96 bytes after the fixed fields. */
  readonly xattrBytes: Uint8Array | undefined;
}

const EXTRA_SIZE = 32;
const CHECKSUM_LOW = 0x7c;
const CHECKSUM_HIGH = 0x82;

/** Where extended attributes begin in an inode. */
export const INODE_XATTR_START = 128 + EXTRA_SIZE;

/**
 * Two extra bits carry seconds up to the year 2446, but an old kernel wrote times before 1970 as ones after
 * 2310-04-04, and e2fsck still takes them for that.
 */
export const MIN_SECONDS = -(2 ** 31);
export const MAX_SECONDS = 2 ** 33 + 2 ** 31 - 1;

/** What the checksums of an inode, its directory blocks and its extent blocks start with. */
export function inodeChecksumSeed(checksumSeed: number, inodeNumber: number, generation = 0): number {
  return crc32cOfUint32(crc32cOfUint32(checksumSeed, inodeNumber), generation);
}

/**
 * @param seed of this inode, see `inodeChecksumSeed`
 * @param into 256 bytes, overwritten
 */
export function encodeInode(inode: InodeFields, seed: number, into: Uint8Array): void {
  into.fill(0);
  const view = viewOf(into);
  view.setUint16(0x00, inode.mode, true);
  view.setUint16(0x02, inode.uid, true);
  view.setUint32(0x04, inode.sizeBytes, true);
  view.setUint16(0x18, inode.gid, true);
  view.setUint16(0x1a, inode.links, true);
  view.setUint32(0x1c, inode.sectors, true);
  view.setUint32(0x20, inode.flags, true);
  into.set(inode.iBlock, 0x28);
  view.setUint32(0x68, inode.xattrBlock, true);
  view.setUint32(0x6c, Math.floor(inode.sizeBytes / 2 ** 32), true);
  view.setUint16(0x74, Math.floor(inode.sectors / 2 ** 32), true);
  view.setUint16(0x76, Math.floor(inode.xattrBlock / 2 ** 32), true);
  view.setUint16(0x78, inode.uid >>> 16, true);
  view.setUint16(0x7a, inode.gid >>> 16, true);
  view.setUint16(0x80, EXTRA_SIZE, true);
  encodeTime(view, inode.time);
  if (inode.xattrBytes) into.set(inode.xattrBytes, INODE_XATTR_START);
  const checksum = crc32c(seed, into.subarray(0, INODE_SIZE));
  view.setUint16(CHECKSUM_LOW, checksum, true);
  view.setUint16(CHECKSUM_HIGH, checksum >>> 16, true);
}

/** Low 32 bits signed, then two bits of epoch and thirty of nanoseconds. */
function encodeTime(view: DataView, time: Timestamp): void {
  const low = time.seconds | 0;
  const epoch = Math.round((time.seconds - low) / 2 ** 32) & 3;
  const extra = time.nanoseconds * 4 + epoch;
  view.setInt32(0x08, low, true); // access
  view.setUint32(0x8c, extra, true);
  view.setInt32(0x0c, low, true); // change
  view.setUint32(0x84, extra, true);
  view.setInt32(0x10, low, true); // modification
  view.setUint32(0x88, extra, true);
  view.setInt32(0x90, low, true); // birth
  view.setUint32(0x94, extra, true);
}

/** An inode as read, with the parts that a tree needs. */
export interface DecodedInode {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly sizeBytes: number;
  readonly links: number;
  readonly flags: number;
  readonly mtime: Timestamp;
  readonly iBlock: Uint8Array;
  readonly generation: number;
  readonly xattrBlock: number;
  /** From the magic number on; empty where there is none. */
  readonly xattrBytes: Uint8Array;
}

/** @param bytes `s_inode_size` of them */
export function decodeInode(bytes: Uint8Array): DecodedInode {
  const view = viewOf(bytes);
  const extraSize = bytes.length > 128 ? Math.min(view.getUint16(0x80, true), bytes.length - 128) : 0;
  const covers = (end: number) => 128 + extraSize >= end;
  const extra = covers(0x8c) ? view.getUint32(0x88, true) : 0;
  return {
    mode: view.getUint16(0x00, true),
    uid: view.getUint16(0x02, true) + view.getUint16(0x78, true) * 65536,
    gid: view.getUint16(0x18, true) + view.getUint16(0x7a, true) * 65536,
    sizeBytes: view.getUint32(0x04, true) + view.getUint32(0x6c, true) * 2 ** 32,
    links: view.getUint16(0x1a, true),
    flags: view.getUint32(0x20, true),
    mtime: {
      seconds: view.getInt32(0x10, true) + (extra & 3) * 2 ** 32,
      nanoseconds: Math.min(extra >>> 2, 999_999_999),
    },
    iBlock: bytes.slice(0x28, 0x28 + 60),
    generation: view.getUint32(0x64, true),
    xattrBlock: view.getUint32(0x68, true) + view.getUint16(0x76, true) * 2 ** 32,
    xattrBytes: bytes.length > 128 ? bytes.slice(128 + extraSize) : new Uint8Array(0),
  };
}

/** Whether the stored checksum fits. An inode that was never used is all zero and has none. */
export function inodeChecksumFits(bytes: Uint8Array, seed: number): boolean {
  const view = viewOf(bytes);
  const hasHigh = bytes.length > 128 && view.getUint16(0x80, true) >= 4;
  const stored = view.getUint16(CHECKSUM_LOW, true) +
    (hasHigh ? view.getUint16(CHECKSUM_HIGH, true) * 65536 : 0);
  const copy = bytes.slice();
  copy.fill(0, CHECKSUM_LOW, CHECKSUM_LOW + 2);
  if (hasHigh) copy.fill(0, CHECKSUM_HIGH, CHECKSUM_HIGH + 2);
  const computed = crc32c(seed, copy);
  return stored === (hasHigh ? computed : computed & 0xffff);
}
