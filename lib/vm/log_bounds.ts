import type { Files } from "../base/host.ts";
import { MIB } from "../base/units.ts";
import type { VmPaths } from "../store/paths.ts";
import type { DriverName } from "../vmm/driver.ts";

/** Of each file that a VMM writes by itself for as long as it runs. Exported for tests. */
export const MAX_VMM_FILE_BYTES = 4 * MIB;

/**
 * Empties what a VMM has filled: its messages, its metrics, and Firecracker's console, which no relay keeps short. A
 * VMM that goes on writing where it was leaves a hole before that, which takes no space.
 */
export async function boundVmmFiles(
  files: Pick<Files, "stat" | "open">,
  { machineLog, metrics, consoleLog }: Pick<VmPaths, "machineLog" | "metrics" | "consoleLog">,
  driver: DriverName,
): Promise<void> {
  for (const path of [machineLog, metrics, ...(driver === "firecracker" ? [consoleLog] : [])]) {
    const stat = await files.stat(path);
    if (stat?.kind !== "file" || stat.allocatedBytes <= MAX_VMM_FILE_BYTES) continue;
    await using file = await files.open(path, { write: true });
    await file.truncate(0);
  }
}
