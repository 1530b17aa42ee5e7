import { BangerError } from "../base/errors.ts";
import type { Files, ProcessIdentity, Progress } from "../base/host.ts";
import { withRollback } from "../base/steps.ts";
import type { SyncedEntry } from "../guest/config/synced_files.ts";
import type { Kernel } from "../kernel/manifest.ts";
import { networkFiles, vmPaths } from "../store/paths.ts";
import type { ImageRecord, Vm } from "../store/records.ts";
import { type Machine, type MachineRecord, runtimeSockets } from "../vmm/driver.ts";
import type { ChosenDriver } from "../vmm/drivers.ts";
import { BOOT_MARKER, HANDOVER_MARKER, watchBoot } from "../vmm/watchdog.ts";
import { writeConfigDisk } from "./config_disk.ts";
import { attachNetwork, detachNetwork, writeSettings } from "./network.ts";
import { beginConsole, lastLines, readBootConsole } from "./console.ts";
import type { VmDeps } from "./deps.ts";
import { collectSyncedFiles } from "./file_sync.ts";
import { machineSpec } from "./machine_spec.ts";
import type { MachineState } from "./machine_state.ts";
import { stopProcess } from "./processes.ts";
import { attachRootDisk, detachRootDisk } from "./root_disk.ts";

/** On a crowded host one boot in ten may hang (docs/vmm.md). */
const BOOT_TRIES = 3;
const RELAY_READY_TIMEOUT_MS = 10_000;
const RELAY_POLL_MS = 2;
const CONSOLE_TAIL_LINES = 15;
const MAX_LOG_BYTES = 1024 * 1024;

export interface Booted {
  readonly machine: Machine;
  readonly state: MachineState;
}

/** What a VM boots with. */
export interface BootParts {
  readonly image: ImageRecord;
  readonly kernel: Kernel;
  readonly vmm: ChosenDriver;
  /** Where it was begun already. */
  readonly begun?: BegunLaunch | undefined;
}

/** What of a launch needs no disks. */
export interface BegunLaunch {
  readonly relay?: SpawnedRelay;
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
  parts: BootParts,
  onLaunched: (state: MachineState) => void,
  { progress, signal }: { progress: Progress; signal: AbortSignal },
): Promise<Booted> {
  const { host, paths, events } = deps;
  const files = vmPaths(paths, vm.id);
  const synced = await collectSyncedFiles(host.files, (await deps.settings()).fileSync);
  for (const note of synced.notes) progress.note(note);
  for (let attempt = 1;; attempt++) {
    const begun = attempt === 1 ? parts.begun : undefined;
    const launchParts = { ...parts, begun, syncedFiles: synced.entries };
    const booted = await launch(deps, vm, launchParts, onLaunched, signal);
    progress.stage(attempt === 1 ? "booting" : "booting again");
    const outcome = await watchOrStop(deps, vm, booted, signal);
    if (outcome === "up") return booted;
    const consoleTail = lastLines(await readBootConsole(host.files, files.consoleLog), CONSOLE_TAIL_LINES);
    await stopMachine(deps, vm, booted);
    await events.add(files.events, "boot failed", `${outcome.reason}; try ${attempt} of ${BOOT_TRIES}`);
    host.log("warn", "boot failed", { vm: vm.name, attempt, reason: outcome.reason, consoleTail });
    if (attempt === BOOT_TRIES) throw bootFailure(vm, outcome.reason, consoleTail);
    progress.note(`the boot failed (${outcome.reason}); trying again`);
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
  vm: Vm,
  booted: Booted,
  signal: AbortSignal,
): Promise<"up" | { reason: string }> {
  const { host, guest, paths } = deps;
  const { consoleLog } = vmPaths(paths, vm.id);
  try {
    const outcome = await watchBoot(host, {
      machine: booted.machine,
      readConsole: () => readBootConsole(host.files, consoleLog),
      isAgentUp: (signal) => guest.isUp(booted.machine.endpoint, signal),
      askFrom: askFrom(vm, booted),
      signal,
    });
    return outcome.kind === "up" ? "up" : { reason: outcome.reason };
  } catch (thrown) {
    await stopMachine(deps, vm, booted);
    throw thrown;
  }
}

/** What a machine's console says before somebody may knock at its agent's door. */
function askFrom({ spec }: Vm, { machine }: Booted): string {
  // vhost-device-vsock 0.3.0 ends its worker, for good, at a connection that comes while the guest's driver sets its
  // queues up: memory known, queues not ready yet.
  if (spec.transport === "vhost-device-vsock") return HANDOVER_MARKER;
  // The relay keeps a request until the guest takes it; elsewhere it would be refused, again and again.
  return machine.record.driver === "qemu" && spec.transport === "virtio-serial" ? "" : BOOT_MARKER;
}

/**
 * Begins the launch of a VM whose directory is there: a relay takes longest to start of all that a machine needs. The
 * VM's removal ends it, too, where nothing comes of it.
 */
export async function beginLaunch(
  deps: VmDeps,
  vm: Vm,
  { driver }: ChosenDriver,
): Promise<BegunLaunch> {
  const { host, paths } = deps;
  const { runtime, consoleLog, relayLog } = vmPaths(paths, vm.id);
  return await withRollback(async (step) => {
    await step("runtime directory", async () => {
      await host.files.remove(runtime);
      await host.files.makeDirectory(runtime, 0o700);
    }, () => host.files.remove(runtime));
    await beginConsole(host.files, consoleLog);
    await boundLog(host.files, relayLog);
    // Firecracker writes its console itself, and its vsock needs nobody in between; its network does, once it runs.
    return driver.name === "qemu" ? { relay: await spawnRelay(deps, vm) } : {};
  }, logFailedUndo(deps, vm));
}

/** The one that was begun, unless the disks took so long to make that its relay has given up. */
async function begunLaunch(deps: VmDeps, vm: Vm, { begun, vmm }: BootParts): Promise<BegunLaunch> {
  const isThere = begun && (!begun.relay || await deps.host.processes.isAlive(begun.relay.process));
  return isThere ? begun : await beginLaunch(deps, vm, vmm);
}

function logFailedUndo({ host }: VmDeps, { name }: Vm) {
  return (step: string, reason: unknown) => host.log("warn", "undo failed", { vm: name, step, reason });
}

async function undoBegun({ host, paths }: VmDeps, vm: Vm, { relay }: BegunLaunch): Promise<void> {
  await stopProcess(host.processes, relay?.process);
  await host.files.remove(vmPaths(paths, vm.id).runtime);
}

async function launch(
  deps: VmDeps,
  vm: Vm,
  parts: BootParts & { readonly syncedFiles: readonly SyncedEntry[] },
  onLaunched: (state: MachineState) => void,
  signal: AbortSignal,
): Promise<Booted> {
  const { host, paths } = deps;
  const { driver, why } = parts.vmm;
  return await withRollback(async (step) => {
    const { relay } = await step(
      "beginning",
      () => begunLaunch(deps, vm, parts),
      (begun) => undoBegun(deps, vm, begun),
    );
    signal.throwIfAborted();
    await writeConfigDisk(host.files, paths, vm, parts.image, parts.syncedFiles);
    const root = await step(
      "root disk",
      () => attachRootDisk(host, paths, vm, parts.image),
      () => detachRootDisk(host, paths, vm),
    );
    const tap = await step("network", () => attachNetwork(deps, vm), () => detachNetwork(deps, vm));
    const network = { ...(tap === undefined ? {} : { tap }) };
    const spec = machineSpec(deps, vm, { kernel: parts.kernel, root, driver: driver.name, ...network });
    // QEMU connects to it when it starts.
    if (relay) await untilRelayServes(deps, vm, relay);
    const machine = await step("machine", () => driver.launch(spec, signal), (machine) => machine.kill());
    const state = { record: machine.record, relay: relay?.process, why };
    onLaunched(state);
    if (driver.name === "qemu" || vm.spec.network === "none") return { machine, state };
    const after = await step(
      "relay",
      () => startRelay(deps, vm, machine.record),
      (relay) => stopProcess(host.processes, relay),
    );
    onLaunched({ ...state, relay: after });
    return { machine, state: { ...state, relay: after } };
  }, logFailedUndo(deps, vm));
}

/** A VM that lives for years starts often: of what its relays said before, one file is enough. */
async function boundLog(files: Files, path: string): Promise<void> {
  const sizeBytes = (await files.stat(path))?.sizeBytes ?? 0;
  if (sizeBytes > MAX_LOG_BYTES) await files.rename(path, `${path}.old`);
}

/**
 * Starts the relay and waits until it listens.
 *
 * @param machine where it runs already
 */
export async function startRelay(deps: VmDeps, vm: Vm, machine?: MachineRecord): Promise<ProcessIdentity> {
  const spawned = await spawnRelay(deps, vm, machine);
  await untilRelayServes(deps, vm, spawned);
  return spawned.process;
}

interface SpawnedRelay {
  readonly process: ProcessIdentity;
  /** A socket that is there once it listens on all of them. */
  readonly ready: string;
}

async function spawnRelay(deps: VmDeps, vm: Vm, machine?: MachineRecord): Promise<SpawnedRelay> {
  const { host, paths } = deps;
  const { runtime, consoleLog, relayLog } = vmPaths(paths, vm.id);
  const carries = machine?.driver === "firecracker"
    ? "network-only"
    : vm.spec.transport === "virtio-serial"
    ? "serial"
    : "console-only";
  const sockets = runtimeSockets(runtime);
  const ready = {
    serial: sockets.agent,
    "console-only": sockets.console,
    "network-only": networkFiles(runtime).control,
  }[carries];
  if (carries === "network-only") await host.sockets.removeStaleSocket(ready); // of a relay before
  await writeSettings(deps, vm, machine);
  const command = deps.relayCommand({ runtimeDirectory: runtime, consoleLogPath: consoleLog, carries });
  return { process: await host.processes.startDetached(command, relayLog), ready };
}

/** Ends it where it does not come to that. */
async function untilRelayServes(deps: VmDeps, vm: Vm, { process, ready }: SpawnedRelay): Promise<void> {
  const { host, paths } = deps;
  const deadlineMs = host.clock.monotonicMs() + RELAY_READY_TIMEOUT_MS;
  while (!(await host.files.stat(ready))) {
    if (host.clock.monotonicMs() > deadlineMs || !(await host.processes.isAlive(process))) {
      await stopProcess(host.processes, process);
      const { relayLog } = vmPaths(paths, vm.id);
      throw new BangerError("internal", `Cannot start the relay of VM ${vm.name}`, `See ${relayLog}`);
    }
    await host.clock.sleep(RELAY_POLL_MS);
  }
}

/** As if its power were cut, and all beside it gone. Fine if it is gone already. */
export async function stopMachine(
  deps: Pick<VmDeps, "host" | "paths" | "bridge">,
  vm: Vm,
  { machine, state }: Booted,
): Promise<void> {
  const { host, paths } = deps;
  await machine.kill();
  await stopProcess(host.processes, state.relay);
  await detachNetwork(deps, vm);
  await detachRootDisk(host, paths, vm);
}
