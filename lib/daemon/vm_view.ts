import type { VmView } from "../api/contract.ts";
import { type Paths, sshPaths, vmPaths } from "../store/paths.ts";
import { type Vm, vmAddress } from "../store/records.ts";
import type { Booted } from "../vm/boot.ts";
import type { Stall } from "../vm/stalls.ts";

/** What is known of a VM beside its row. */
export interface VmFacts {
  readonly booted: Booted | undefined;
  readonly trashKeepMs: number;
  readonly stall: Stall | undefined;
  readonly diskUsedBytes: number;
}

/** A VM as the API shows it. */
export function vmView(paths: Paths, vm: Vm, { booted, trashKeepMs, stall, diskUsedBytes }: VmFacts): VmView {
  const own = vmPaths(paths, vm.id);
  const isReachable = vm.state === "running" || vm.state === "stopping";
  const { spec } = vm;
  return {
    id: vm.id,
    name: vm.removed?.name ?? vm.name,
    state: vm.state,
    image: spec.imageName,
    kernel: spec.kernelName,
    cpus: spec.cpus,
    memoryMib: spec.memoryMib,
    workDiskBytes: spec.workDiskBytes,
    diskUsedBytes,
    ...(vm.rootDisk === undefined ? {} : { rootDisk: vm.rootDisk }),
    ...(vm.rootDiskReason === undefined ? {} : { rootDiskReason: vm.rootDiskReason }),
    ...(vm.previousRoot ? { previousImage: vm.previousRoot.imageName } : {}),
    ...waitingForRestart(vm),
    network: spec.network,
    transport: spec.transport,
    address: vmAddress(vm),
    createdAt: new Date(vm.createdAtMs).toISOString(),
    ...(vm.startedAtMs !== undefined && isReachable
      ? { startedAt: new Date(vm.startedAtMs).toISOString() }
      : {}),
    ...(booted ? { vmm: vmmView(booted) } : {}),
    ...(stall ? { paused: { reason: stall.reason, since: new Date(stall.sinceMs).toISOString() } } : {}),
    ...(booted && isReachable ? { agent: booted.machine.endpoint } : {}),
    ssh: {
      identityFile: sshPaths(paths).clientKey,
      knownHostsFile: own.knownHosts,
      hostKeyAlias: `${vm.name}.vm`,
    },
    ...(vm.removed
      ? {
        removed: {
          at: new Date(vm.removed.atMs).toISOString(),
          keptUntil: new Date(vm.removed.atMs + trashKeepMs).toISOString(),
        },
      }
      : {}),
    ...(vm.lastExit === undefined ? {} : { lastExit: vm.lastExit }),
    ...(vm.brokenReason === undefined ? {} : { brokenReason: vm.brokenReason }),
  };
}

/** What a running machine does not have yet. */
function waitingForRestart({ state, spec, startedWith }: Vm): Pick<VmView, "waitingForRestart"> {
  if (state !== "running" || !startedWith) return {};
  const { kernelName = spec.kernelName } = startedWith;
  const waiting = [
    ...(["cpus", "memoryMib"] as const).filter((name) => spec[name] !== startedWith[name]),
    ...(kernelName === spec.kernelName ? [] : ["kernel"]),
  ];
  return waiting.length === 0 ? {} : { waitingForRestart: waiting };
}

function vmmView({ machine, state }: Booted): NonNullable<VmView["vmm"]> {
  const { driver, acceleration, process } = machine.record;
  return {
    driver,
    acceleration: acceleration.kind,
    reason: reasonOfBoth(state.why, acceleration.why),
    pid: process.pid,
  };
}

/** Why this VMM, and why this fast; the one often says the other. */
function reasonOfBoth(driverWhy: string | undefined, accelerationWhy: string): string {
  if (driverWhy === undefined) return accelerationWhy;
  return driverWhy.includes(accelerationWhy) ? driverWhy : `${driverWhy}; ${accelerationWhy}`;
}
