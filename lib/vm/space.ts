import { BangerError } from "../base/errors.ts";
import type { Files } from "../base/host.ts";
import { formatBytes } from "../base/units.ts";

/**
 * Disks are sparse, so nothing else would notice a full host before the guests do.
 *
 * @param what is to be done, as in "create a VM"
 * @param directory where the disks lie
 * @throws {BangerError} `no_space`
 */
export async function requireReserve(
  files: Pick<Files, "freeBytes">,
  what: string,
  directory: string,
  reserveBytes: number,
): Promise<void> {
  const freeBytes = await files.freeBytes(directory);
  if (freeBytes >= reserveBytes) return;
  throw new BangerError(
    "no_space",
    `Cannot ${what}: ${formatBytes(freeBytes)} are free at ${directory}, and ${
      formatBytes(reserveBytes)
    } is the least`,
    "Free some space (banger vm list --all shows who uses it), or lower disks.reserve in config.toml",
  );
}
