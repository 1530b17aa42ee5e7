import { BangerError } from "../base/errors.ts";
import { allEnded } from "../base/steps.ts";
import { vmPaths } from "../store/paths.ts";
import type { Vm } from "../store/records.ts";
import { makeHostKey } from "./config_disk.ts";
import type { VmDeps } from "./deps.ts";
import { makeRootDisk, type RootDisk, type RootDiskWishes } from "./root_disk.ts";
import { makeWorkDisk } from "./work_disk.ts";

/** Makes what lies in the directory of a new VM, which is there: its disks and its host key. Not synced. */
export async function makeVmFiles(
  { host, paths, store }: Pick<VmDeps, "host" | "paths" | "store">,
  vm: Vm,
  wishes: RootDiskWishes,
): Promise<RootDisk> {
  const image = store.images.find(vm.imageId);
  if (!image) {
    throw new BangerError("not_found", `Cannot create VM ${vm.name}: its image was removed meanwhile`);
  }
  const [rootDisk] = await allEnded(
    makeRootDisk(host, paths, image, vm.id, wishes),
    makeWorkDisk(host.files, paths, image, vm.id, vm.spec.workDiskBytes),
    makeHostKey(host.files, paths, vm),
  );
  return rootDisk;
}

/** Waits until a power cut takes nothing of what `makeVmFiles` made. A guest may write to its disks meanwhile. */
export async function syncVmFiles(
  { host, paths }: Pick<VmDeps, "host" | "paths">,
  { id }: Pick<Vm, "id">,
  { rootDiskFile }: RootDisk,
): Promise<void> {
  const { directory, workDisk, hostKey } = vmPaths(paths, id);
  const made = [`${directory}/${rootDiskFile}`, workDisk, hostKey, `${hostKey}.pub`];
  for (const path of [...made, directory, paths.vmsDirectory]) await host.files.sync(path);
}
