import { concatBytes } from "../base/bytes.ts";
import type { Host, Progress } from "../base/host.ts";
import type { KernelName } from "../base/names.ts";
import type { DiskBuilder } from "./disk_builder.ts";
import { chooseInitramfsModules, initramfsBase, initramfsRevision, initramfsScripts } from "./initramfs.ts";
import { kernelFiles, type KernelManifest } from "./manifest.ts";
import { moduleFiles } from "./module_files.ts";
import { ModuleGraph, moduleNameOf } from "./modules.ts";
import { fillModulesDisk } from "./modules_disk.ts";
import { readKernelPackage, readSpooledModule } from "./package_contents.ts";
import type { KernelSource } from "./sources.ts";
import { writeVmlinux } from "./vmlinux.ts";

/**
 * Writes vmlinux, initramfs and modules disk into `directory`, which has nothing else.
 *
 * @returns the manifest, not yet written
 * @throws {BangerError} `corrupt_data`; `host_unsupported`; `no_space`; the signal's reason
 */
export async function buildKernel(
  host: Pick<Host, "files" | "clock" | "processes">,
  name: KernelName,
  source: KernelSource,
  directory: string,
  buildDisk: DiskBuilder,
  progress: Progress,
  signal: AbortSignal,
): Promise<KernelManifest> {
  const { files, clock, processes: { architecture } } = host;
  const paths = kernelFiles(directory);
  const spoolPath = `${directory}/modules.spool`;
  await using spool = await files.open(spoolPath, { read: true, write: true, createNew: true });

  progress.stage("unpack kernel");
  const found = await readKernelPackage(source.kernel, spool, signal);
  const sha256 = await writeVmlinux(host, found.vmlinuz, paths.vmlinuxPath);
  signal.throwIfAborted();

  progress.stage("make initramfs");
  const { order, builtin } = found.lists;
  const graph = new ModuleGraph(found.modules, order.split("\n").filter(Boolean));
  // A kernel that comes with neither modules nor lists is taken at its giver's word.
  const builtinNames = builtin === "" && found.modules.length === 0
    ? undefined
    : new Set(builtin.split("\n").filter(Boolean).map(moduleNameOf));
  const chosen = chooseInitramfsModules(graph, builtinNames);
  const spooled = new Map(found.modules.map((module) => [module.name, module]));
  const base = await initramfsBase(
    source.busybox,
    chosen,
    (module) => readSpooledModule(spool, spooled.get(module.name)!),
  );
  await files.writeAtomic(paths.initramfsPath, concatBytes([base, initramfsScripts()]), 0o644);

  progress.stage("write modules disk");
  await buildDisk(paths.modulesDiskPath, { uuidSeed: `kernel modules ${sha256}`, label: "banger-modules" }, (
    sink,
  ) => fillModulesDisk(sink, spool, found.modules, moduleFiles(graph, found.lists), signal));
  await files.remove(spoolPath);
  return {
    name,
    distribution: source.distribution,
    architecture,
    version: found.version,
    sha256,
    source: source.source,
    createdAt: new Date(clock.now()).toISOString(),
    initramfsBaseBytes: base.length,
    initramfsRevision: initramfsRevision(),
    ...(found.timerHz === undefined ? {} : { timerHz: found.timerHz }),
  };
}
