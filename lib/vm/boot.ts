import { BangerError } from "../base/errors.ts";
import type { Host, ProcessIdentity, Progress } from "../base/host.ts";
import { withRollback } from "../base/steps.ts";
import type { Kernel } from "../kernel/manifest.ts";
import { imageRootfs, vmPaths } from "../store/paths.ts";
import { type ImageRecord, type Vm, vsockCid } from "../store/records.ts";
import type { AgentTransport, Drive, Machine, MachineSpec } from "../vmm/driver.ts";
import { watchBoot } from "../vmm/watchdog.ts";
import { writeConfigDisk } from "./config_disk.ts";
import { beginConsole, lastLines, readBootConsole } from "./console.ts";
import type { VmDeps } from "./deps.ts";
import type { MachineState } from "./machine_state.ts";
import { stopProcess } from "./processes.ts";

/** A guest that hangs at boot (docs/vmm.md) is worth a second try, not a third. */
const BOOT_TRIES = 2;
const RELAY_READY_TIMEOUT_MS = 10_000;
const CONSOLE_TAIL_LINES = 15;

export interface Booted {
  readonly machine: Machine;
  readonly state: MachineState;
}

/**
 * Starts the VM's machine and waits until its agent answers. On failure or abort nothing of it is left.
 *
 * @param onLaunched told as soon as processes run, so that they can be found again whatever happens next
 * @throws {BangerError} `boot_failed` and what the driver throws
 */
export async function bootMachine(
  deps: VmDeps,
  vm: Vm,
  parts: { image: ImageRecord; kernel: Kernel },
  onLaunched: (state: MachineState) => void,
  { progress, signal }: { progress: Progress; signal: AbortSignal },
): Promise<Booted> {
  const { host, paths, events } = deps;
  const files = vmPaths(paths, vm.id);
  for (let attempt = 1;; attempt++) {
    const booted = await launch(deps, vm, parts, onLaunched, signal);
    progress.stage(attempt === 1 ? "booting" : "booting again");
    const outcome = await watchOrStop(deps, booted, files.consoleLog, signal);
    if (outcome === "up") return booted;
    const consoleTail = lastLines(await readBootConsole(host.files, files.consoleLog), CONSOLE_TAIL_LINES);
    await stopMachine(host, booted);
    await events.add(files.events, "boot failed", `${outcome.reason}; try ${attempt} of ${BOOT_TRIES}`);
    host.log("warn", "boot failed", { vm: vm.name, attempt, reason: outcome.reason, consoleTail });
    if (attempt === BOOT_TRIES) throw bootFailure(vm, outcome.reason, consoleTail);
    progress.note(`the boot failed (${outcome.reason}); trying once more`);
  }
}

function bootFailure(vm: Vm, reason: string, consoleTail: string): BangerError {
  const shown = consoleTail === ""
    ? "The console stayed silent"
    : `The console's last lines:\n${consoleTail}`;
  return new BangerError("boot_failed", `Cannot boot VM ${vm.name}: ${reason}`, shown);
}

async function watchOrStop(
  deps: VmDeps,
  booted: Booted,
  consoleLogPath: string,
  signal: AbortSignal,
): Promise<"up" | { reason: string }> {
  const { host, guest } = deps;
  try {
    const outcome = await watchBoot(host, {
      machine: booted.machine,
      readConsole: () => readBootConsole(host.files, consoleLogPath),
      isAgentUp: () => guest.isUp(booted.machine.endpoint),
      signal,
    });
    return outcome.kind === "up" ? "up" : { reason: outcome.reason };
  } catch (thrown) {
    await stopMachine(host, booted);
    throw thrown;
  }
}

async function launch(
  deps: VmDeps,
  vm: Vm,
  parts: { image: ImageRecord; kernel: Kernel },
  onLaunched: (state: MachineState) => void,
  signal: AbortSignal,
): Promise<Booted> {
  const { host, paths, driver } = deps;
  const { runtime } = vmPaths(paths, vm.id);
  const undoFailed = (step: string, reason: unknown) =>
    host.log("warn", "undo failed", { vm: vm.name, step, reason });
  return await withRollback(async (step) => {
    signal.throwIfAborted();
    await writeConfigDisk(host.files, paths, vm, parts.image);
    await step("runtime directory", async () => {
      await host.files.remove(runtime);
      await host.files.makeDirectory(runtime, 0o700);
    }, () => host.files.remove(runtime));
    await beginConsole(host.files, vmPaths(paths, vm.id).consoleLog);
    const relay = await step(
      "relay",
      () => startRelay(deps, vm),
      (relay) => stopProcess(host.processes, relay),
    );
    const machine = await step(
      "machine",
      () => driver.launch(machineSpec(deps, vm, parts), signal),
      (machine) => machine.kill(),
    );
    const state = { record: machine.record, relay };
    onLaunched(state);
    return { machine, state };
  }, undoFailed);
}

/** Starts the relay and waits until it listens: QEMU connects to it when it starts. */
export async function startRelay(deps: VmDeps, vm: Vm): Promise<ProcessIdentity> {
  const { host, paths } = deps;
  const { runtime, consoleLog, relayLog } = vmPaths(paths, vm.id);
  const hasSerial = vm.spec.transport === "virtio-serial";
  const command = deps.relayCommand({ runtimeDirectory: runtime, consoleLogPath: consoleLog, hasSerial });
  const relay = await host.processes.startDetached(command, relayLog);
  const ready = hasSerial ? `${runtime}/agent.sock` : `${runtime}/console.sock`;
  const deadlineMs = host.clock.monotonicMs() + RELAY_READY_TIMEOUT_MS;
  while (!(await host.files.stat(ready))) {
    if (host.clock.monotonicMs() > deadlineMs || !(await host.processes.isAlive(relay))) {
      await stopProcess(host.processes, relay);
      throw new BangerError("internal", `Cannot start the relay of VM ${vm.name}`, `See ${relayLog}`);
    }
    await host.clock.sleep(5);
  }
  return relay;
}

function machineSpec(
  deps: VmDeps,
  vm: Vm,
  { image, kernel }: { image: ImageRecord; kernel: Kernel },
): MachineSpec {
  const files = vmPaths(deps.paths, vm.id);
  const root: Drive = vm.rootDisk === "qcow2"
    ? {
      id: "root",
      path: files.rootOverlay,
      format: "qcow2",
      backingPath: imageRootfs(deps.paths, image),
      readOnly: false,
    }
    : { id: "root", path: files.rootRaw, format: "raw", readOnly: false };
  return {
    id: vm.id,
    runtimeDirectory: files.runtime,
    cpus: vm.spec.cpus,
    memoryMib: vm.spec.memoryMib,
    kernel: { vmlinuxPath: kernel.vmlinuxPath, initramfsPath: kernel.initramfsPath },
    drives: [
      root,
      { id: "work", path: files.workDisk, format: "raw", readOnly: false },
      { id: "config", path: files.configDisk, format: "raw", readOnly: true },
      { id: "modules", path: kernel.modulesDiskPath, format: "raw", readOnly: true },
    ],
    network: vm.spec.network === "user" ? { mode: "user", mac: macAddress(vm.number) } : { mode: "none" },
    transport: agentTransport(deps, vm),
    logPath: files.machineLog,
  };
}

/** Locally administered (the second-lowest bit of the first byte), and one for each VM. */
function macAddress(number: number): string {
  const hex = (value: number) => value.toString(16).padStart(2, "0");
  return `52:54:00:42:${hex(number >> 8)}:${hex(number & 255)}`;
}

function agentTransport({ vhostDeviceVsock }: VmDeps, vm: Vm): AgentTransport {
  const cid = vsockCid(vm.number);
  if (vm.spec.transport === "virtio-serial") return { kind: "virtio-serial" };
  if (vm.spec.transport === "vhost-vsock") return { kind: "vhost-vsock", cid };
  if (vhostDeviceVsock) return { kind: "vhost-device-vsock", cid, program: vhostDeviceVsock };
  throw new BangerError(
    "missing_tool",
    `Cannot start VM ${vm.name}: its transport is vhost-device-vsock, and no such program is configured`,
    "Set BANGER_VHOST_DEVICE_VSOCK to its path, then restart the daemon: banger daemon stop",
  );
}

/** As if its power were cut, and all beside it gone. Fine if it is gone already. */
export async function stopMachine(
  { processes }: Pick<Host, "processes">,
  { machine, state }: Booted,
): Promise<void> {
  await machine.kill();
  await stopProcess(processes, state.relay);
}
