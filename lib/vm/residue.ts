import type { ProcessIdentity } from "../base/host.ts";
import type { VmId } from "../base/names.ts";
import { hostKeyAlias } from "../guest/ssh/client_arguments.ts";
import { sshPaths, vmPaths } from "../store/paths.ts";
import type { Vm } from "../store/records.ts";
import type { VmDeps } from "./deps.ts";
import { stopProcess } from "./processes.ts";
import { removeJailDirectory } from "../vmm/firecracker/jail.ts";
import { detachRootDisk, rootDiskPath } from "./root_disk.ts";

type Deps = Pick<VmDeps, "host" | "paths">;

/** Removes all files of a VM: disks, logs, sockets. */
async function removeVmFiles({ host, paths }: Deps, id: VmId): Promise<void> {
  const { directory, runtime } = vmPaths(paths, id);
  await host.files.remove(runtime);
  await host.files.remove(directory);
}

/**
 * The end of a VM in state `removing`: what runs, its files, its row. Can be done again where it failed half-way. Call
 * from the VM's queue.
 */
export async function finishRemoval(deps: Pick<VmDeps, "host" | "paths" | "store">, id: VmId): Promise<void> {
  await stopUnrecordedProcesses(deps, id); // a broken one may still run
  const vm = deps.store.vms.find(id);
  if (vm) await detachRootDisk(deps.host, deps.paths, vm);
  await removeKnownHosts(deps, id);
  await removeVmFiles(deps, id);
  deps.store.vms.remove(id);
}

/** The file by which the user's own ssh knows the VM's host key, unless another VM has the name by now. */
async function removeKnownHosts(
  { host, paths, store }: Pick<VmDeps, "host" | "paths" | "store">,
  id: VmId,
): Promise<void> {
  const vm = store.vms.find(id);
  if (!vm) return;
  const name = vm.removed?.name ?? vm.name;
  const owner = store.vms.find(name);
  if (owner && owner.id !== id) return;
  await host.files.remove(`${sshPaths(paths).knownHostsDirectory}/${hostKeyAlias(name)}`);
}

/**
 * Every process whose command line names the VM's runtime directory. Only processes of ours can be meant, since the
 * directory's name holds the VM's random id.
 */
export async function findVmProcesses({ host, paths }: Deps, id: VmId): Promise<ProcessIdentity[]> {
  return await host.processes.findByCommandLine(`${vmPaths(paths, id).runtime}/`);
}

/** Ends what a killed daemon started for a VM and had no time to write down. */
export async function stopUnrecordedProcesses(deps: Deps, id: VmId): Promise<number> {
  const found = await findVmProcesses(deps, id);
  await Promise.all(found.map((process) => stopProcess(deps.host.processes, process)));
  // Another user's, without our paths in its arguments: what runs in a jail is written down there.
  await removeJailDirectory(deps.host, vmPaths(deps.paths, id).jail);
  return found.length;
}

/** @returns the path of a disk that the VM cannot be without and that is not there */
export async function findMissingDisk({ host, paths }: Deps, vm: Vm): Promise<string | undefined> {
  for (const path of [rootDiskPath(paths, vm), vmPaths(paths, vm.id).workDisk]) {
    if (!(await host.files.stat(path))) return path;
  }
  return undefined;
}
