import { BangerError } from "../base/errors.ts";
import type { Progress } from "../base/host.ts";
import { parseKernelName, type VmId } from "../base/names.ts";
import { wrongState } from "../base/states.ts";
import { formatBytes, MIB } from "../base/units.ts";
import { vmPaths } from "../store/paths.ts";
import type { Vm, VmSpec } from "../store/records.ts";
import type { Booted } from "./boot.ts";
import type { VmDeps } from "./deps.ts";

/** What can be changed of a VM that is there. */
export interface SettingsChange {
  readonly cpus?: number | undefined;
  readonly memoryMib?: number | undefined;
  /** One that is here (`requireKernel`). */
  readonly kernel?: string | undefined;
  /** Disks only grow. */
  readonly workDiskBytes?: number | undefined;
  /** Variables to set; null takes one away. */
  readonly environment?: Readonly<Record<string, string | null>> | undefined;
}

export interface PlannedChange {
  readonly setting: string;
  /** For people. */
  readonly from: string;
  readonly to: string;
  readonly takesEffect: "now" | "next start";
}

/**
 * What a change comes to: nothing for what is so already.
 *
 * @throws {BangerError} `invalid_argument` where a disk would become smaller
 */
export function planChange(vm: Vm, change: SettingsChange): { plan: PlannedChange[]; spec: VmSpec } {
  const { spec } = vm;
  const plan: PlannedChange[] = [];
  const isOn = vm.state !== "stopped" && vm.state !== "broken";
  const later = isOn ? "next start" : "now";
  const note = (setting: string, from: string, to: string, takesEffect: PlannedChange["takesEffect"]) => {
    if (from !== to) plan.push({ setting, from, to, takesEffect });
  };
  const cpus = change.cpus ?? spec.cpus;
  note("cpus", String(spec.cpus), String(cpus), later);
  const memoryMib = change.memoryMib ?? spec.memoryMib;
  note("memory", formatBytes(spec.memoryMib * MIB), formatBytes(memoryMib * MIB), later);
  const kernelName = change.kernel === undefined ? spec.kernelName : parseKernelName(change.kernel);
  note("kernel", spec.kernelName, kernelName, later);
  const workDiskBytes = change.workDiskBytes ?? spec.workDiskBytes;
  if (workDiskBytes < spec.workDiskBytes) throw shrinking(vm, workDiskBytes);
  note("disk", sizeText(spec.workDiskBytes), sizeText(workDiskBytes), "now");
  const environment = { ...spec.environment };
  for (const [name, value] of Object.entries(change.environment ?? {})) {
    note(`environment ${name}`, shown(environment[name]), shown(value), later);
    if (value === null) delete environment[name];
    else environment[name] = value;
  }
  return { plan, spec: { ...spec, kernelName, cpus, memoryMib, workDiskBytes, environment } };
}

/** Exact where two sizes could look the same. */
function sizeText(bytes: number): string {
  return bytes % MIB === 0 ? formatBytes(bytes) : `${bytes} B`;
}

function shown(value: string | null | undefined): string {
  return value === undefined || value === null ? "not set" : JSON.stringify(value);
}

function shrinking({ name, spec }: Vm, workDiskBytes: number): BangerError {
  return new BangerError(
    "invalid_argument",
    `Cannot make the disk of VM ${name} ${sizeText(workDiskBytes)} large: it has ${
      sizeText(spec.workDiskBytes)
    }, and disks only grow`,
    "Copy what you need into a new VM with a smaller disk: banger vm cp",
  );
}

/**
 * Changes cpus, memory, kernel, disk or environment. Call from the VM's queue.
 *
 * @param booted its machine, where it runs
 */
export async function changeSettings(
  deps: VmDeps,
  id: VmId,
  booted: Booted | undefined,
  change: SettingsChange,
  progress: Progress,
): Promise<PlannedChange[]> {
  const { store, paths, events } = deps;
  const before = store.vms.get(id);
  if (before.state === "removed") throw wrongState("change", before.name, before.state);
  const { plan, spec } = planChange(before, change);
  if (plan.length === 0) return plan;
  // Written first: what is killed half-way is done again at the next start.
  const vm = store.vms.update(id, { record: { spec } });
  try {
    if (spec.workDiskBytes !== before.spec.workDiskBytes) {
      progress.stage("growing the disk");
      await growWorkDisk(deps, vm, booted, progress);
    }
  } catch (thrown) {
    // All of it or nothing: what was told to have failed has changed nothing.
    store.vms.update(id, { record: { spec: before.spec } });
    throw thrown;
  }
  const told = plan.map(({ setting, from, to }) => `${setting}: ${from} to ${to}`).join("; ");
  await events.add(vmPaths(paths, id).events, "changed", told);
  return plan;
}

/**
 * Makes the work disk as large as the spec says. Killed half-way it is done again at the next start, which
 * makes the file as large as the spec.
 */
async function growWorkDisk(
  { host, paths, guest }: Pick<VmDeps, "host" | "paths" | "guest">,
  vm: Vm,
  booted: Booted | undefined,
  progress: Progress,
): Promise<void> {
  const path = vmPaths(paths, vm.id).workDisk;
  const { workDiskBytes } = vm.spec;
  if (!booted) {
    await ensureWorkDiskSize({ host, paths }, vm);
    return;
  }
  await booted.machine.growDrive({ id: "work", path }, workDiskBytes);
  try {
    await guest.growWorkDisk(booted.machine.endpoint, workDiskBytes);
  } catch (thrown) {
    if (!(thrown instanceof BangerError) || thrown.code !== "not_found") throw thrown;
    progress.note("the agent in this VM is too old to grow the file system; in the VM: resize2fs /dev/vdb");
  }
}

/** Before a start: the file system follows once the guest runs. */
export async function ensureWorkDiskSize(
  { host, paths }: Pick<VmDeps, "host" | "paths">,
  vm: Vm,
): Promise<void> {
  await using file = await host.files.open(vmPaths(paths, vm.id).workDisk, { read: true, write: true });
  if (await file.sizeBytes() >= vm.spec.workDiskBytes) return;
  await file.truncate(vm.spec.workDiskBytes);
  await file.sync();
}
