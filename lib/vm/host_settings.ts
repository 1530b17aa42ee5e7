import type { FileSync } from "./file_sync.ts";

/** What the user's configuration says of running VMs; asked whenever it counts. */
export interface VmSettings {
  /** Free on the host's disk before a VM starts, and before one that was paused for want of space goes on. */
  readonly reserveBytes: number;
  /** Files of the host that every machine gets at its start. */
  readonly fileSync: readonly FileSync[];
}
