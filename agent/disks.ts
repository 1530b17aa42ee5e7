import { BangerError } from "../lib/base/errors.ts";
import type { Log } from "../lib/base/host.ts";
import { bytesOf, checked, cString, type Libc, O_CLOEXEC } from "./libc.ts";

/** A disk and where its file system is mounted. docs/architecture.md, "Disks" */
interface MountedDisk {
  readonly device: string;
  readonly mountPoint: string;
}

const DISKS = {
  root: { device: "/dev/vda", mountPoint: "/" },
  work: { device: "/dev/vdb", mountPoint: "/root" },
} as const satisfies Record<string, MountedDisk>;

export type DiskName = keyof typeof DISKS;

/** linux/fs.h: `_IOR(0x12, 114, size_t)` */
const BLKGETSIZE64 = 0x80081272n;
/** fs/ext4/ext4.h: `_IOW('f', 16, __u64)` */
const EXT4_IOC_RESIZE_FS = 0x40086610n;
/** Where the superblock ends that begins at 1024. */
const HEAD_BYTES = 2048;
/** The VMM's word of a larger disk comes to the guest's driver as an interrupt. */
const NOTICE_TIMEOUT_MS = 5000;
const NOTICE_POLL_MS = 20;

/**
 * @returns the file system's size, undefined where this is no ext4. Source: Linux, ext4, "Super Block"
 * Exported for tests.
 */
export function ext4SizeOf(head: Uint8Array): { blocks: bigint; blockBytes: bigint } | undefined {
  const superblock = new DataView(head.buffer, head.byteOffset + 1024, 1024);
  if (superblock.getUint16(0x38, true) !== 0xef53) return undefined;
  const high = superblock.getUint32(0x60, true) & 0x80 ? superblock.getUint32(0x150, true) : 0;
  return {
    blocks: (BigInt(high) << 32n) | BigInt(superblock.getUint32(0x4, true)),
    blockBytes: 1024n << BigInt(superblock.getUint32(0x18, true)),
  };
}

/** Lets each file system fill its disk, where that was made larger while the machine was off. */
export function growDisks(libc: Libc, log: Log): void {
  for (const name of Object.keys(DISKS) as DiskName[]) {
    try {
      growFilesystem(libc, log, DISKS[name]);
    } catch (failure) {
      // A machine whose file system stays as small as it was is still a machine.
      log("error", "cannot grow a file system", { disk: name, failure });
    }
  }
}

/**
 * Lets a file system fill its disk, which is being made larger.
 *
 * @param diskBytes what the disk has now: the kernel may notice a moment later
 * @throws {BangerError} `guest_failed`
 */
export async function growDisk(libc: Libc, log: Log, name: DiskName, diskBytes: number): Promise<void> {
  const disk = DISKS[name];
  for (let waitedMs = 0; sizeOf(libc, disk) < BigInt(diskBytes); waitedMs += NOTICE_POLL_MS) {
    if (waitedMs >= NOTICE_TIMEOUT_MS) {
      throw new BangerError("guest_failed", `Cannot grow ${disk.mountPoint}: ${disk.device} stays as it was`);
    }
    await new Promise((resolve) => setTimeout(resolve, NOTICE_POLL_MS));
  }
  growFilesystem(libc, log, disk);
}

function sizeOf(libc: Libc, { device }: MountedDisk): bigint {
  const fd = checked(libc, `open ${device}`, libc.call.open(cString(device), O_CLOEXEC, 0));
  try {
    return deviceBytes(libc, fd);
  } finally {
    libc.call.close(fd);
  }
}

function deviceBytes(libc: Libc, fd: number): bigint {
  const bytes = new BigUint64Array(1);
  checked(libc, "BLKGETSIZE64", libc.call.ioctl(fd, BLKGETSIZE64, bytesOf(bytes)));
  return bytes[0]!;
}

function growFilesystem(libc: Libc, log: Log, { device, mountPoint }: MountedDisk): void {
  const fd = libc.call.open(cString(device), O_CLOEXEC, 0);
  if (fd < 0) return;
  try {
    const head = new Uint8Array(HEAD_BYTES);
    const count = checked(libc, `read ${device}`, libc.call.read(fd, head, BigInt(head.length)));
    const fileSystem = count === head.length ? ext4SizeOf(head) : undefined;
    if (!fileSystem) return;
    const blocks = deviceBytes(libc, fd) / fileSystem.blockBytes;
    if (blocks <= fileSystem.blocks) return;
    resize(libc, mountPoint, blocks);
    log("info", "a file system fills its larger disk now", { mountPoint, blocks: Number(blocks) });
  } finally {
    libc.call.close(fd);
  }
}

function resize(libc: Libc, mountPoint: string, blocks: bigint): void {
  const fd = checked(libc, `open ${mountPoint}`, libc.call.open(cString(mountPoint), O_CLOEXEC, 0));
  try {
    const wanted = bytesOf(BigUint64Array.of(blocks));
    checked(libc, "EXT4_IOC_RESIZE_FS", libc.call.ioctl(fd, EXT4_IOC_RESIZE_FS, wanted));
  } finally {
    libc.call.close(fd);
  }
}
