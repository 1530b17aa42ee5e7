import type { GuestFilesystem, GuestStats } from "../lib/guest/wire/stats.ts";
import { cString, type Libc } from "./libc.ts";
import { readSmallFile } from "./small_files.ts";

/** `sizeof(struct statvfs)` of glibc on 64-bit Linux. */
const STATVFS_BYTES = 112;

/** How much of the guest is in use, by its own word. */
export function guestStats(libc: Libc): GuestStats {
  const memory = readSmallFile(libc, "/proc/meminfo") ?? "";
  const [one, five, fifteen, running] = (readSmallFile(libc, "/proc/loadavg") ?? "").split(" ");
  return {
    memory: {
      totalBytes: meminfoBytes(memory, "MemTotal"),
      availableBytes: meminfoBytes(memory, "MemAvailable"),
    },
    load: [Number(one ?? 0), Number(five ?? 0), Number(fifteen ?? 0)],
    processes: Number(running?.split("/")[1] ?? 0),
    filesystems: (["/", "/root"] as const)
      .map((path) => filesystemAt(libc, path))
      .filter((filesystem) => filesystem !== undefined),
  };
}

function meminfoBytes(text: string, name: string): number {
  return Number(new RegExp(`^${name}: +(\\d+) kB$`, "m").exec(text)?.[1] ?? 0) * 1024;
}

/** Source: statvfs(3): block size, fragment size, then blocks, free ones, free ones for everybody */
function filesystemAt(libc: Libc, path: "/" | "/root"): GuestFilesystem | undefined {
  const buffer = new Uint8Array(STATVFS_BYTES);
  if (libc.call.statvfs(cString(path), buffer) < 0) return undefined;
  const [, fragmentBytes = 0n, blocks = 0n, , available = 0n] = new BigUint64Array(buffer.buffer);
  return {
    path,
    totalBytes: Number(blocks * fragmentBytes),
    availableBytes: Number(available * fragmentBytes),
  };
}
