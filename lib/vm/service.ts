import { BangerError } from "../base/errors.ts";
import type { Progress } from "../base/host.ts";
import { inventVmName, parseVmName, type VmId, type VmName } from "../base/names.ts";
import { eitherSignal } from "../base/signals.ts";
import { wrongState } from "../base/states.ts";
import { allEnded, withRollback } from "../base/steps.ts";
import { formatDuration } from "../base/units.ts";
import { VM_DEFAULTS } from "../base/vm_defaults.ts";
import { vmPaths } from "../store/paths.ts";
import type { RootDiskMode, Vm, VmRecord, VmSpec } from "../store/records.ts";
import type { Machine } from "../vmm/driver.ts";
import type { ChosenDriver } from "../vmm/drivers.ts";
import { beginLaunch, type BegunLaunch, type Booted, bootMachine, stopMachine } from "./boot.ts";
import { type CreateOptions, specOf } from "./create_options.ts";
import type { VmDeps } from "./deps.ts";
import { kernelToBoot, requireKernel } from "./kernel_use.ts";
import type { MachineState } from "./machine_state.ts";
import { assertPublishable, networkMode } from "./network.ts";
import { VmQueues } from "./queue.ts";
import { isFullDisk, nameTaken, removesRunning } from "./refusals.ts";
import { finishRemoval, stopUnrecordedProcesses } from "./residue.ts";
import { RunningMachines } from "./running.ts";
import {
  changeSettings,
  ensureWorkDiskSize,
  planChange,
  type PlannedChange,
  type SettingsChange,
} from "./settings.ts";
import { Trash } from "./trash.ts";
import { requireReserve } from "./space.ts";
import { makeVmFiles, syncVmFiles } from "./vm_files.ts";

/** The guest gets this long to shut down before its power is cut. */
const POWER_OFF_TIMEOUT_MS = 60_000;
/** So often a guest that shuts down is asked whether it can: its last writes may find the host's disk full. */
const POWER_OFF_SLICE_MS = 2000;

interface Work {
  readonly progress: Progress;
  readonly signal: AbortSignal;
}

/** A VM whose files were just made, for its first start. */
interface Created {
  readonly vmm: ChosenDriver;
  readonly begun: BegunLaunch;
  /** Its files are on the disk. */
  readonly synced: Promise<void>;
}

/** The life of VMs. Each change is ordered by the VM's queue and undone where it fails. */
export class VmService {
  readonly queues: VmQueues;
  readonly running: RunningMachines;
  readonly trash: Trash;
  readonly #deps: VmDeps;
  /** Ends the boot of each VM that is starting. */
  readonly #boots = new Map<VmId, AbortController>();
  /** VMs whose shutdown was cut short by \`kill\`. */
  readonly #killed = new Set<VmId>();

  constructor(deps: VmDeps) {
    this.#deps = deps;
    // Whoever is told of a change finds it in the record beside the disks, too.
    this.queues = new VmQueues((id) => deps.records.flush(id));
    this.running = new RunningMachines(deps, this.queues);
    this.trash = new Trash(deps, this.queues);
  }

  /**
   * Makes a VM, and starts it unless told otherwise. Where anything fails, nothing of it stays.
   *
   * @returns its name
   */
  async create(options: CreateOptions, work: Work): Promise<VmName> {
    const { store, host, paths } = this.#deps;
    const wanted = options.name === undefined ? undefined : parseVmName(options.name);
    if (wanted && store.vms.isTaken(wanted)) throw nameTaken(wanted);
    await host.files.makeDirectory(paths.vmsDirectory, 0o700);
    await this.#requireSpace("create a VM", paths.vmsDirectory);
    const { progress, signal } = work;
    // Before anything is fetched for a machine that could not run.
    const vmm = await this.#chooseDriver(
      { network: options.network ?? VM_DEFAULTS.network, ...(options.vmm ? { vmm: options.vmm } : {}) },
      options.rootDisk,
    );
    // A kernel that was asked for comes first: if there is none of that name, nobody waits for an image.
    const chosen = options.kernel === undefined
      ? undefined
      : await this.#deps.ensureKernel(options.kernel, progress, signal);
    const image = await this.#deps.ensureImage(options.image ?? VM_DEFAULTS.image, progress, signal);
    const kernel = chosen ??
      await this.#deps.ensureKernel(image.kernel ?? VM_DEFAULTS.kernel, progress, signal);
    work.signal.throwIfAborted();
    work.progress.stage("making disks");
    const spec = specOf(options, image.name, kernel.name);
    const rootDisk = { mode: options.rootDisk, needsRaw: vmm.driver.name === "firecracker" };
    const undoFailed = (step: string, reason: unknown) => host.log("error", "undo failed", { step, reason });
    return await withRollback(async (step) => {
      const reserved = await step(
        "reserve",
        () => Promise.resolve(this.#reserve(wanted, image.id, spec)),
        (vm) => this.#discard(vm.id),
      );
      await this.queues.run(reserved.id, async () => {
        await host.files.makeDirectory(vmPaths(paths, reserved.id).directory, 0o700);
        if (options.start === false) {
          const made = await makeVmFiles(this.#deps, reserved, rootDisk);
          await syncVmFiles(this.#deps, reserved, made);
          return await this.#filesMade(reserved, made, signal);
        }
        await assertPublishable(this.#deps, reserved);
        // Its relay starts while its disks are made.
        const begun = await beginLaunch(this.#deps, reserved, vmm);
        const made = await makeVmFiles(this.#deps, reserved, rootDisk);
        await this.#filesMade(reserved, { ...made, isUnannounced: true }, signal);
        // It boots meanwhile: nobody was told of it yet, and after a power cut it would be discarded.
        const synced = syncVmFiles(this.#deps, reserved, made);
        await allEnded(this.#start(reserved.id, work, { vmm, begun, synced }), synced);
      });
      return reserved.name;
    }, undoFailed);
  }

  async start(nameOrId: string, work: Work): Promise<VmName> {
    const { id, name } = this.#deps.store.vms.get(nameOrId);
    await this.queues.run(id, () => this.#start(id, work));
    return name;
  }

  /** Shuts the guest down, or cuts its power where it does not end or where told to. */
  async stop(nameOrId: string, { force }: { force: boolean }, work: Work): Promise<VmName> {
    const { id, name } = this.#deps.store.vms.get(nameOrId);
    await this.queues.run(id, () => this.#stop(id, force, work));
    return name;
  }

  /** A VM that is stopped already is only started. */
  async restart(nameOrId: string, { force }: { force: boolean }, work: Work): Promise<VmName> {
    const { store } = this.#deps;
    const { id, name } = store.vms.get(nameOrId);
    await this.queues.run(id, async () => {
      if (store.vms.get(id).state === "running") await this.#stop(id, force, work);
      await this.#start(id, work);
    });
    return name;
  }

  /**
   * Cuts the power at once, whatever else is being done with it: a boot ends, a shutdown that waits waits no
   * more, and of a broken VM every process is ended.
   */
  async kill(nameOrId: string, work: Work): Promise<VmName> {
    const { store } = this.#deps;
    const { id, name, state } = store.vms.get(nameOrId);
    const wasUnderWay = state === "starting" || state === "stopping";
    if (wasUnderWay) await this.#interrupt(id);
    await this.queues.run(id, async () => {
      const vm = store.vms.find(id);
      if (!vm) return; // it was being made: with its start all of it is undone
      if (vm.state === "running") await this.#stop(id, true, work);
      else if (vm.state === "broken") await this.#killBroken(vm);
      else if (!wasUnderWay) throw wrongState("kill", vm.name, vm.state);
    });
    return name;
  }

  /** @returns what changes, and when */
  async set(nameOrId: string, change: SettingsChange, work: Work): Promise<PlannedChange[]> {
    const { id } = this.#deps.store.vms.get(nameOrId);
    await requireKernel(this.#deps, nameOrId, change.kernel, work);
    return await this.queues.run(
      id,
      () => changeSettings(this.#deps, id, this.running.get(id), change, work.progress),
    );
  }

  /** What `set` would come to. */
  plan(nameOrId: string, change: SettingsChange): PlannedChange[] {
    return planChange(this.#deps.store.vms.get(nameOrId), change).plan;
  }

  /**
   * Puts a VM into the trash, or removes it for good: where told to, where it is in the trash already, and where
   * the configuration wants no trash.
   */
  async remove(
    nameOrId: string,
    { force, purge = false }: { force: boolean; purge?: boolean },
    work: Work,
  ): Promise<VmName> {
    const { store } = this.#deps;
    const { id, name } = store.vms.get(nameOrId);
    const keepMs = purge ? 0 : await this.#deps.trashKeepMs();
    await this.queues.run(id, async () => {
      const vm = store.vms.get(id);
      if (vm.state === "running" && !force) throw removesRunning(name);
      if (vm.state === "running") await this.#stop(id, true, work);
      else if (vm.state === "broken") await this.#endBroken(vm, force);
      work.progress.stage("removing");
      if (keepMs > 0 && vm.state !== "removed" && vm.state !== "removing") {
        await this.trash.put(store.vms.get(id));
        const howLong = formatDuration(keepMs);
        work.progress.note(
          `VM ${name} is in the trash for ${howLong}; bring it back: banger vm restore ${name}`,
        );
        return;
      }
      // Else an earlier removal failed half-way, and this one finishes it.
      if (vm.state !== "removing") store.vms.transition("remove", id, "removing");
      await finishRemoval(this.#deps, id);
    });
    return name;
  }

  /** Ends what holds up the VM's queue. */
  async #interrupt(id: VmId): Promise<void> {
    this.#boots.get(id)?.abort(new BangerError("cancelled", "Cannot finish the start: the VM was killed"));
    const booted = this.running.get(id);
    if (!booted) return;
    this.#killed.add(id);
    await booted.machine.kill();
  }

  async #killBroken(vm: Vm): Promise<void> {
    const { store, host, paths, events } = this.#deps;
    const ended = await stopUnrecordedProcesses(this.#deps, vm.id);
    await host.files.remove(vmPaths(paths, vm.id).runtime);
    const lastExit = "power cut on request";
    store.vms.transition("kill", vm.id, "stopped", { machine: undefined, record: { lastExit } });
    await events.add(
      vmPaths(paths, vm.id).events,
      "stopped",
      `${lastExit}; it was broken, ${ended} processes`,
    );
  }

  /** A broken VM's machine may still run, and write. */
  async #endBroken({ id, name }: Vm, force: boolean): Promise<void> {
    const { host, paths } = this.#deps;
    const alive = await host.processes.findByCommandLine(`${vmPaths(paths, id).runtime}/`);
    if (alive.length > 0 && !force) throw removesRunning(name);
    await stopUnrecordedProcesses(this.#deps, id);
  }

  #chooseDriver(
    spec: Pick<VmSpec, "network" | "vmm">,
    rootDisk: RootDiskMode | undefined,
  ): Promise<ChosenDriver> {
    return this.#deps.drivers.choose({
      ...(spec.vmm ? { requested: spec.vmm } : {}),
      network: networkMode(spec),
      rootFormat: rootDisk === "qcow2" ? "qcow2" : "raw",
    });
  }

  /** One of the two short global sections: no await between the check and the row. */
  #reserve(wanted: VmName | undefined, imageId: Vm["imageId"], spec: VmSpec): Vm {
    const { store, host } = this.#deps;
    const name = wanted ?? inventVmName(Math.random, (candidate) => store.vms.isTaken(candidate));
    const id = crypto.randomUUID().replaceAll("-", "").slice(0, 12) as VmId;
    return store.vms.reserve(id, name, imageId, { createdAtMs: host.clock.now(), spec });
  }

  async #requireSpace(what: string, directory: string): Promise<void> {
    const { host, settings } = this.#deps;
    await requireReserve(host.files, what, directory, (await settings()).reserveBytes);
  }

  async #filesMade({ id, spec }: Vm, record: Partial<VmRecord>, signal: AbortSignal): Promise<void> {
    const { paths, store, events } = this.#deps;
    await events.add(vmPaths(paths, id).events, "created", `from image ${spec.imageName}`);
    signal.throwIfAborted();
    store.vms.transition("create", id, "stopped", { record });
  }

  /** Removes a VM that a failed creation leaves. */
  async #discard(id: VmId): Promise<void> {
    const { store } = this.#deps;
    await this.queues.run(id, async () => {
      if (!store.vms.find(id)) return;
      store.vms.transition("discard", id, "removing");
      await finishRemoval(this.#deps, id);
    });
  }

  /** @param created by it, already: the ports that it publishes were free, and its launch has begun */
  async #start(id: VmId, work: Work, created?: Created): Promise<void> {
    const { store, host, paths, events } = this.#deps;
    const vm = store.vms.get(id);
    if (vm.state !== "stopped") throw wrongState("start", vm.name, vm.state);
    const image = store.images.find(vm.imageId);
    if (!image) {
      throw new BangerError(
        "not_found",
        `Cannot start VM ${vm.name}: its image ${vm.spec.imageName} is gone`,
      );
    }
    await this.#requireSpace(`start VM ${vm.name}`, vmPaths(paths, id).directory);
    if (!created) await assertPublishable(this.#deps, vm);
    const kernel = await kernelToBoot(this.#deps, vm, work);
    const vmm = created?.vmm ?? await this.#chooseDriver(vm.spec, vm.rootDisk);
    work.progress.stage("starting");
    store.vms.transition("start", id, "starting");
    let booted: Booted | undefined;
    try {
      const onLaunched = (state: MachineState) => void store.vms.update(id, { machine: state });
      await ensureWorkDiskSize(this.#deps, vm);
      const killed = new AbortController();
      this.#boots.set(id, killed);
      using either = eitherSignal(work.signal, killed.signal);
      const { signal } = either;
      const parts = { image, kernel, vmm, begun: created?.begun };
      booted = await bootMachine(this.#deps, vm, parts, onLaunched, { ...work, signal });
      await created?.synced;
      const { cpus, memoryMib, kernelName } = vm.spec;
      store.vms.transition("start", id, "running", {
        record: {
          startedAtMs: host.clock.now(),
          lastExit: undefined,
          isUnannounced: undefined,
          startedWith: { cpus, memoryMib, kernelName },
        },
        machine: booted.state,
      });
    } catch (thrown) {
      await this.running.abandon(id, booted, vm.lastExit);
      throw thrown;
    } finally {
      this.#boots.delete(id);
    }
    this.running.add(id, booted);
    const { driver, acceleration } = booted.machine.record;
    await events.add(vmPaths(paths, id).events, "started", `${driver} with ${acceleration.kind}`);
  }

  async #stop(id: VmId, force: boolean, { progress }: Work): Promise<void> {
    const { store, host, guest } = this.#deps;
    const vm = store.vms.get(id);
    const booted = this.running.get(id);
    if (vm.state !== "running" || !booted) throw wrongState("stop", vm.name, vm.state);
    if (!force) await this.running.requireMoving(id, vm.name);
    store.vms.transition("stop", id, "stopping");
    let how = "shut down";
    if (force) {
      how = "power cut on request";
    } else {
      progress.stage("shutting down");
      try {
        await guest.powerOff(booted.machine.endpoint);
        if (!(await this.#waitForPowerOff(vm, booted.machine))) {
          how = "power cut: it did not shut down in time";
        }
      } catch (thrown) {
        if (isFullDisk(thrown)) {
          // It goes on by itself once there is room, and ends then. Cutting its power would lose what it writes.
          store.vms.transition("stop", id, "running");
          throw thrown;
        }
        if (await booted.machine.isAlive()) how = "power cut: its agent does not answer";
        host.log("warn", "no clean shutdown", { vm: vm.name, thrown });
      }
    }
    if (this.#killed.delete(id)) how = "power cut on request";
    try {
      await stopMachine(this.#deps, vm, booted);
    } catch (thrown) {
      // What cannot be ended goes on: its VM says so, and the next stop tries again.
      if (await booted.machine.isAlive()) store.vms.transition("stop", id, "running");
      throw thrown;
    }
    if (!force && how !== "shut down") {
      progress.note(`VM ${vm.name}: ${how}; what was not yet synced may be lost`);
    }
    await this.running.settle(id, how);
  }

  /** @returns whether it ended in time @throws {BangerError} `no_space` where the host's disk is full meanwhile */
  async #waitForPowerOff(vm: Vm, machine: Machine): Promise<boolean> {
    for (let waitedMs = 0; waitedMs < POWER_OFF_TIMEOUT_MS; waitedMs += POWER_OFF_SLICE_MS) {
      if (await machine.waitForExit(POWER_OFF_SLICE_MS)) return true;
      await this.running.requireMoving(vm.id, vm.name);
    }
    return false;
  }
}
