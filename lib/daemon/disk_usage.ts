import type { Files } from "../base/host.ts";
import type { VmId } from "../base/names.ts";
import { type Paths, vmPaths } from "../store/paths.ts";
import type { Vm } from "../store/records.ts";
import type { VmTable } from "../store/vm_table.ts";
import { rootDiskPath } from "../vm/root_disk.ts";

/**
 * What VMs take on the host's disk. Of one that does not run it is looked up once for each change of its row: a list
 * of a thousand VMs would otherwise ask the host three thousand times.
 */
export class DiskUsage {
  readonly #files: Pick<Files, "stat">;
  readonly #paths: Paths;
  readonly #resting = new Map<VmId, number>();

  constructor(files: Pick<Files, "stat">, paths: Paths, vms: Pick<VmTable, "onChange">) {
    this.#files = files;
    this.#paths = paths;
    vms.onChange((id) => this.#resting.delete(id));
  }

  /** @returns bytes; holes do not count */
  async usedBytes(vm: Vm): Promise<number> {
    const isResting = vm.state === "stopped" || vm.state === "removed";
    const known = isResting ? this.#resting.get(vm.id) : undefined;
    if (known !== undefined) return known;
    const previous = vm.previousRoot && rootDiskPath(this.#paths, { ...vm.previousRoot, id: vm.id });
    const { workDisk } = vmPaths(this.#paths, vm.id);
    const disks = [rootDiskPath(this.#paths, vm), workDisk, ...(previous ? [previous] : [])];
    const found = await Promise.all(disks.map((path) => this.#files.stat(path)));
    const bytes = found.reduce((sum, stat) => sum + (stat?.allocatedBytes ?? 0), 0);
    if (isResting) this.#resting.set(vm.id, bytes);
    return bytes;
  }
}
