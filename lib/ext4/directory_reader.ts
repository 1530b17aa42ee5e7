import { type ByteString, byteString } from "../base/tree.ts";
import { viewOf } from "./bytes.ts";
import { crc32c } from "./crc32c.ts";
import { ENTRY_TYPE_CHECKSUM, MAX_NAME_BYTES } from "./format.ts";
import { unreadable } from "./superblock_reader.ts";

export interface FoundEntry {
  readonly name: ByteString;
  readonly inodeNumber: number;
}

const DOT = 0x2e;
const SLASH = 0x2f;
const TAIL_BYTES = 12;

/**
 * The entries of one directory block, `.` and `..` left out. Blocks of an index look empty to this, so a
 * directory is read whole whether it is indexed or not.
 *
 * @param checksumSeed of the directory's inode; absent without checksums
 * @throws {BangerError} `corrupt_data`
 */
export function* readDirectoryBlock(
  block: Uint8Array,
  checksumSeed: number | undefined,
): Generator<FoundEntry> {
  const view = viewOf(block);
  if (checksumSeed !== undefined) checkTail(block, view, checksumSeed);
  for (let at = 0; at < block.length;) {
    if (at + 8 > block.length) throw unreadable("a directory entry goes beyond its block");
    const inodeNumber = view.getUint32(at, true);
    const size = entrySize(view.getUint16(at + 4, true), block.length);
    const nameLength = block[at + 6]!;
    if (size < 8 || size % 4 !== 0 || at + size > block.length || 8 + nameLength > size) {
      throw unreadable("a directory entry has an impossible size");
    }
    if (inodeNumber !== 0) {
      const name = block.subarray(at + 8, at + 8 + nameLength);
      if (!isDots(name)) yield { name: checkedName(name), inodeNumber };
    }
    at += size;
  }
}

/** Sizes of 64 KiB do not fit in 16 bits. */
function entrySize(stored: number, blockSize: number): number {
  return blockSize === 65536 && (stored === 0 || stored === 65535) ? 65536 : stored;
}

function isDots(name: Uint8Array): boolean {
  return (name.length === 1 || name.length === 2) && name.every((byte) => byte === DOT);
}

function checkedName(name: Uint8Array): ByteString {
  if (name.length === 0 || name.length > MAX_NAME_BYTES || name.includes(0) || name.includes(SLASH)) {
    throw unreadable("a directory entry has an impossible name");
  }
  return byteString(name);
}

/** Leaves end with a fake entry that holds the checksum; index blocks keep theirs elsewhere. */
function checkTail(block: Uint8Array, view: DataView, checksumSeed: number): void {
  const at = block.length - TAIL_BYTES;
  const isTail = view.getUint32(at, true) === 0 && view.getUint16(at + 4, true) === TAIL_BYTES &&
    block[at + 6] === 0 && block[at + 7] === ENTRY_TYPE_CHECKSUM;
  if (isTail && crc32c(checksumSeed, block.subarray(0, at)) !== view.getUint32(at + 8, true)) {
    throw unreadable("the checksum of a directory block is wrong");
  }
}
