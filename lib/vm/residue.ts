import type { VmId } from "../base/names.ts";
import { vmPaths } from "../store/paths.ts";
import type { VmDeps } from "./deps.ts";
import { stopProcess } from "./processes.ts";

type Deps = Pick<VmDeps, "host" | "paths">;

/** Removes all files of a VM: disks, logs, sockets. */
export async function removeVmFiles({ host, paths }: Deps, id: VmId): Promise<void> {
  const { directory, runtime } = vmPaths(paths, id);
  await host.files.remove(runtime);
  await host.files.remove(directory);
}

/**
 * Ends every process whose command line names the VM's runtime directory. For what a killed daemon
 * started and had no time to write down: only processes of ours can be meant, since the directory's name
 * holds the VM's random id.
 */
export async function stopUnrecordedProcesses({ host, paths }: Deps, id: VmId): Promise<number> {
  const found = await host.processes.findByCommandLine(`${vmPaths(paths, id).runtime}/`);
  for (const process of found) await stopProcess(host.processes, process);
  return found.length;
}
