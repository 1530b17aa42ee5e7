import { BangerError } from "../base/errors.ts";
import { quote } from "../base/names.ts";
import { bytesOf, type ByteString, byteString, byteStringOfText, displayText } from "../base/tree.ts";
import { aclFromDisk, aclToDisk } from "./acl.ts";
import { roundUp, viewOf } from "./bytes.ts";
import { crc32c, crc32cOfUint32 } from "./crc32c.ts";
import { BLOCK_SIZE, INODE_SIZE, XATTR_MAGIC } from "./format.ts";
import { INODE_XATTR_START } from "./inode.ts";

/**
 * Extended attributes, in the inode's end and in one block more. Names are stored as an index for the
 * namespace and the rest. Source: Linux fs/ext4/xattr.c
 */
const NAMESPACES = [
  [2, "system.posix_acl_access"],
  [3, "system.posix_acl_default"],
  [8, "system.richacl"],
  [6, "security."],
  [4, "trusted."],
  [7, "system."],
  [1, "user."],
  // The kernel shows none of these, but nothing is lost.
  [0, ""],
] as const;
const WHOLE_NAMES: readonly number[] = [2, 3, 8];
const ACL_INDEXES: readonly number[] = [2, 3];

const ENTRY_HEADER_BYTES = 16;
const BLOCK_HEADER_BYTES = 32;
/** Ends the entries. */
const TERMINATOR_BYTES = 4;
const INODE_SPACE = INODE_SIZE - INODE_XATTR_START - 4;
const BLOCK_SPACE = BLOCK_SIZE - BLOCK_HEADER_BYTES;

/** The kernel lets no more inodes share one block. */
export const MAX_XATTR_BLOCK_REFERENCES = 1024;

interface Entry {
  readonly index: number;
  readonly name: ByteString;
  readonly value: Uint8Array;
}

/** An inode's attributes, laid out. */
export interface PackedXattrs {
  /** For the inode's end. */
  readonly inInode: Uint8Array | undefined;
  /** 4096 bytes without reference count and checksum. */
  readonly inBlock: Uint8Array | undefined;
}

/** @throws {BangerError} `corrupt_data` for what ext4 cannot hold */
export function packXattrs(xattrs: ReadonlyMap<string, Uint8Array>): PackedXattrs {
  if (xattrs.size === 0) return { inInode: undefined, inBlock: undefined };
  const inInode: Entry[] = [];
  const inBlock: Entry[] = [];
  let inodeLeft = INODE_SPACE - TERMINATOR_BYTES;
  let blockLeft = BLOCK_SPACE - TERMINATOR_BYTES;
  for (const entry of toEntries(xattrs)) {
    const size = entryBytes(entry);
    if (size <= inodeLeft) {
      inodeLeft -= size;
      inInode.push(entry);
    } else {
      blockLeft -= size;
      inBlock.push(entry);
    }
  }
  if (blockLeft < 0) {
    throw new BangerError(
      "corrupt_data",
      `Cannot store ${xattrs.size} extended attributes on one file: they take more than 4 KiB`,
      "Remove large extended attributes from the image",
    );
  }
  return {
    inInode: inInode.length > 0 ? packInode(inInode) : undefined,
    inBlock: inBlock.length > 0 ? packBlock(inBlock) : undefined,
  };
}

function entryBytes({ name, value }: Entry): number {
  return ENTRY_HEADER_BYTES + roundUp(name.length, 4) + roundUp(value.length, 4);
}

/** In the order that the kernel searches a block by: index, length of the name, name. */
function toEntries(xattrs: ReadonlyMap<string, Uint8Array>): Entry[] {
  const entries = [...xattrs].map(([fullName, value]): Entry => {
    const [index, prefix] = NAMESPACES.find(([index, prefix]) =>
      WHOLE_NAMES.includes(index) ? fullName === prefix : fullName.startsWith(prefix)
    )!;
    const name = byteStringOfText(fullName.slice(prefix.length));
    if (name.length > 255 || (name.length === 0 && !WHOLE_NAMES.includes(index)) || name.includes("\0")) {
      throw new BangerError(
        "corrupt_data",
        `Cannot store the extended attribute ${quote(fullName)}: bad name`,
      );
    }
    return { index, name, value: ACL_INDEXES.includes(index) ? aclToDisk(value) : value };
  });
  return entries.sort((a, b) =>
    a.index - b.index || a.name.length - b.name.length || (a.name < b.name ? -1 : a.name > b.name ? 1 : 0)
  );
}

function packInode(entries: readonly Entry[]): Uint8Array {
  const bytes = new Uint8Array(4 + INODE_SPACE);
  viewOf(bytes).setUint32(0, XATTR_MAGIC, true);
  packEntries(bytes, 4, 4, entries);
  return bytes;
}

function packBlock(entries: readonly Entry[]): Uint8Array {
  const bytes = new Uint8Array(BLOCK_SIZE);
  const view = viewOf(bytes);
  view.setUint32(0x00, XATTR_MAGIC, true);
  view.setUint32(0x08, 1, true); // h_blocks
  const hashes = packEntries(bytes, BLOCK_HEADER_BYTES, 0, entries);
  const hash = hashes.reduce((sum, one) => (sum << 16) ^ (sum >>> 16) ^ one, 0);
  view.setUint32(0x0c, hash, true);
  return bytes;
}

/**
 * Entries grow from the start, values from the end.
 *
 * @param valueBase what value offsets count from
 * @returns the entries' hashes
 */
function packEntries(
  bytes: Uint8Array,
  start: number,
  valueBase: number,
  entries: readonly Entry[],
): number[] {
  const view = viewOf(bytes);
  let at = start;
  let valueAt = bytes.length;
  return entries.map(({ index, name, value }) => {
    valueAt -= roundUp(value.length, 4);
    bytes.set(value, valueAt);
    const hash = hashEntry(name, bytes.subarray(valueAt, valueAt + roundUp(value.length, 4)));
    bytes[at] = name.length;
    bytes[at + 1] = index;
    view.setUint16(at + 2, value.length > 0 ? valueAt - valueBase : 0, true);
    view.setUint32(at + 8, value.length, true);
    view.setUint32(at + 12, hash, true);
    bytes.set(bytesOf(name), at + ENTRY_HEADER_BYTES);
    at += ENTRY_HEADER_BYTES + roundUp(name.length, 4);
    return hash;
  });
}

function hashEntry(name: ByteString, paddedValue: Uint8Array): number {
  let hash = 0;
  for (let i = 0; i < name.length; i++) hash = (hash << 5) ^ (hash >>> 27) ^ name.charCodeAt(i);
  const view = viewOf(paddedValue);
  for (let at = 0; at < paddedValue.length; at += 4) {
    hash = (hash << 16) ^ (hash >>> 16) ^ view.getUint32(at, true);
  }
  return hash >>> 0;
}

/**
 * Completes a block once its place is known.
 *
 * @param block from `packXattrs`, changed
 */
export function sealXattrBlock(
  block: Uint8Array,
  references: number,
  blockNumber: number,
  checksumSeed: number,
): void {
  const view = viewOf(block);
  view.setUint32(0x04, references, true);
  view.setUint32(0x10, 0, true);
  view.setUint32(0x10, xattrBlockChecksum(block, blockNumber, checksumSeed), true);
}

/** @param block with zero in the checksum's place */
function xattrBlockChecksum(block: Uint8Array, blockNumber: number, checksumSeed: number): number {
  const low = crc32cOfUint32(checksumSeed, blockNumber >>> 0);
  return crc32c(crc32cOfUint32(low, Math.floor(blockNumber / 2 ** 32)), block);
}

function badXattrs(why: string): BangerError {
  return new BangerError("corrupt_data", `Cannot read extended attributes: ${why}`);
}

/** Adds the attributes at an inode's end. @throws {BangerError} `corrupt_data` */
export function readInodeXattrs(bytes: Uint8Array, into: Map<string, Uint8Array>): void {
  if (bytes.length < 8 || viewOf(bytes).getUint32(0, true) !== XATTR_MAGIC) return;
  readEntries(bytes, 4, 4, into);
}

/** Adds the attributes of a block. @throws {BangerError} `corrupt_data` */
export function readBlockXattrs(
  block: Uint8Array,
  blockNumber: number,
  checksumSeed: number | undefined,
  into: Map<string, Uint8Array>,
): void {
  const view = viewOf(block);
  if (view.getUint32(0, true) !== XATTR_MAGIC) throw badXattrs("the block has no magic number");
  if (checksumSeed !== undefined) {
    const copy = block.slice();
    copy.fill(0, 0x10, 0x14);
    if (xattrBlockChecksum(copy, blockNumber, checksumSeed) !== view.getUint32(0x10, true)) {
      throw badXattrs("the block's checksum is wrong");
    }
  }
  readEntries(block, BLOCK_HEADER_BYTES, 0, into);
}

function readEntries(
  bytes: Uint8Array,
  start: number,
  valueBase: number,
  into: Map<string, Uint8Array>,
): void {
  const view = viewOf(bytes);
  for (let at = start; at + TERMINATOR_BYTES <= bytes.length && view.getUint32(at, true) !== 0;) {
    if (at + ENTRY_HEADER_BYTES > bytes.length) throw badXattrs("an entry goes beyond the end");
    const nameLength = bytes[at]!;
    const index = bytes[at + 1]!;
    const nameAt = at + ENTRY_HEADER_BYTES;
    const valueAt = view.getUint16(at + 2, true) + valueBase;
    const valueSize = view.getUint32(at + 8, true);
    if (view.getUint32(at + 4, true) !== 0) throw badXattrs("a value lies in an inode of its own");
    if (nameAt + nameLength > bytes.length || valueAt + valueSize > bytes.length) {
      throw badXattrs("an entry goes beyond the end");
    }
    const prefix = NAMESPACES.find(([known]) => known === index)?.[1];
    if (prefix === undefined) throw badXattrs(`namespace ${index} is unknown`);
    const name = prefix + displayText(byteString(bytes.subarray(nameAt, nameAt + nameLength)));
    const value = bytes.slice(valueAt, valueAt + valueSize);
    into.set(name, ACL_INDEXES.includes(index) ? aclFromDisk(value) : value);
    at = nameAt + roundUp(nameLength, 4);
  }
}
