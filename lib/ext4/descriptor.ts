import { viewOf } from "./bytes.ts";
import { crc32c, crc32cOfUint32 } from "./crc32c.ts";
import { DESCRIPTOR_SIZE } from "./format.ts";

/** A block group's descriptor. Source: Linux Documentation/filesystems/ext4, "Block Group Descriptors". */
export interface GroupDescriptor {
  readonly blockBitmap: number;
  readonly inodeBitmap: number;
  readonly inodeTable: number;
  readonly freeBlocks: number;
  readonly freeInodes: number;
  readonly usedDirectories: number;
  /** Inodes at the table's end that were never used. */
  readonly unusedInodes: number;
  /** `GROUP_FLAG` */
  readonly flags: number;
  readonly blockBitmapChecksum: number;
  readonly inodeBitmapChecksum: number;
}

/** @param into 64 zero bytes */
export function encodeDescriptor(
  descriptor: GroupDescriptor,
  group: number,
  checksumSeed: number,
  into: Uint8Array,
): void {
  const view = viewOf(into);
  const halves16 = (low: number, high: number, value: number) => {
    view.setUint16(low, value & 0xffff, true);
    view.setUint16(high, value >>> 16, true);
  };
  const halves32 = (low: number, high: number, value: number) => {
    view.setUint32(low, value, true);
    view.setUint32(high, Math.floor(value / 2 ** 32), true);
  };
  halves32(0x00, 0x20, descriptor.blockBitmap);
  halves32(0x04, 0x24, descriptor.inodeBitmap);
  halves32(0x08, 0x28, descriptor.inodeTable);
  halves16(0x0c, 0x2c, descriptor.freeBlocks);
  halves16(0x0e, 0x2e, descriptor.freeInodes);
  halves16(0x10, 0x30, descriptor.usedDirectories);
  view.setUint16(0x12, descriptor.flags, true);
  halves16(0x18, 0x38, descriptor.blockBitmapChecksum);
  halves16(0x1a, 0x3a, descriptor.inodeBitmapChecksum);
  halves16(0x1c, 0x32, descriptor.unusedInodes);
  view.setUint16(0x1e, 0, true);
  const checksum = crc32c(crc32cOfUint32(checksumSeed, group), into.subarray(0, DESCRIPTOR_SIZE));
  view.setUint16(0x1e, checksum & 0xffff, true);
}

/** @param bytes 32, or 64 and more with the 64bit feature */
export function decodeDescriptor(bytes: Uint8Array): GroupDescriptor {
  const view = viewOf(bytes);
  const wide = bytes.length >= DESCRIPTOR_SIZE;
  const halves16 = (low: number, high: number) =>
    view.getUint16(low, true) + (wide ? view.getUint16(high, true) * 2 ** 16 : 0);
  const halves32 = (low: number, high: number) =>
    view.getUint32(low, true) + (wide ? view.getUint32(high, true) * 2 ** 32 : 0);
  return {
    blockBitmap: halves32(0x00, 0x20),
    inodeBitmap: halves32(0x04, 0x24),
    inodeTable: halves32(0x08, 0x28),
    freeBlocks: halves16(0x0c, 0x2c),
    freeInodes: halves16(0x0e, 0x2e),
    usedDirectories: halves16(0x10, 0x30),
    flags: view.getUint16(0x12, true),
    blockBitmapChecksum: halves16(0x18, 0x38),
    inodeBitmapChecksum: halves16(0x1a, 0x3a),
    unusedInodes: halves16(0x1c, 0x32),
  };
}
