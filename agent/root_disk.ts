import type { Log } from "../lib/base/host.ts";
import { bytesOf, checked, cString, type Libc, O_CLOEXEC } from "./libc.ts";

/** docs/architecture.md, "Disks" */
const ROOT_DISK = "/dev/vda";
/** linux/fs.h: `_IOR(0x12, 114, size_t)` */
const BLKGETSIZE64 = 0x80081272n;
/** fs/ext4/ext4.h: `_IOW('f', 16, __u64)` */
const EXT4_IOC_RESIZE_FS = 0x40086610n;
/** Where the superblock ends that begins at 1024. */
const HEAD_BYTES = 2048;

/** @returns the file system's size, undefined where this is no ext4. Source: Linux, ext4, "Super Block" */
export function ext4SizeOf(head: Uint8Array): { blocks: bigint; blockBytes: bigint } | undefined {
  const superblock = new DataView(head.buffer, head.byteOffset + 1024, 1024);
  if (superblock.getUint16(0x38, true) !== 0xef53) return undefined;
  const high = superblock.getUint32(0x60, true) & 0x80 ? superblock.getUint32(0x150, true) : 0;
  return {
    blocks: (BigInt(high) << 32n) | BigInt(superblock.getUint32(0x4, true)),
    blockBytes: 1024n << BigInt(superblock.getUint32(0x18, true)),
  };
}

/** Lets the root file system fill its disk, where that was made larger while the machine was off. */
export function growRoot(libc: Libc, log: Log): void {
  const disk = libc.call.open(cString(ROOT_DISK), O_CLOEXEC, 0);
  if (disk < 0) return;
  try {
    const head = new Uint8Array(HEAD_BYTES);
    const count = checked(libc, `read ${ROOT_DISK}`, libc.call.read(disk, head, BigInt(head.length)));
    const fileSystem = count === head.length ? ext4SizeOf(head) : undefined;
    if (!fileSystem) return;
    const diskBytes = new BigUint64Array(1);
    checked(libc, "BLKGETSIZE64", libc.call.ioctl(disk, BLKGETSIZE64, bytesOf(diskBytes)));
    const blocks = diskBytes[0]! / fileSystem.blockBytes;
    if (blocks <= fileSystem.blocks) return;
    resize(libc, blocks);
    log("info", "the root file system fills its larger disk now", { blocks: Number(blocks) });
  } finally {
    libc.call.close(disk);
  }
}

function resize(libc: Libc, blocks: bigint): void {
  const root = checked(libc, "open /", libc.call.open(cString("/"), O_CLOEXEC, 0));
  try {
    const wanted = bytesOf(BigUint64Array.of(blocks));
    checked(libc, "EXT4_IOC_RESIZE_FS", libc.call.ioctl(root, EXT4_IOC_RESIZE_FS, wanted));
  } finally {
    libc.call.close(root);
  }
}
