import { reasonOf } from "../base/errors.ts";
import type { VmId } from "../base/names.ts";
import { mayBecome } from "../base/states.ts";
import { vmPaths } from "../store/paths.ts";
import { type Booted, startRelay, stopMachine } from "./boot.ts";
import type { VmDeps } from "./deps.ts";
import { boundVmmFiles } from "./log_bounds.ts";
import { detachNetwork } from "./network.ts";
import { stopProcess } from "./processes.ts";
import type { VmQueues } from "./queue.ts";
import { finishRemoval } from "./residue.ts";
import { detachRootDisk } from "./root_disk.ts";
import { type Stall, Stalls } from "./stalls.ts";

const WATCH_INTERVAL_MS = 500;
/** What failed for want of space or descriptors is tried again every few seconds. */
const ROUNDS_BETWEEN_RETRIES = 10;
const ROUNDS_BETWEEN_BOUNDS = 120;

/** The machines that run now, and the watch over them: one that ends by itself is noticed within a second. */
export class RunningMachines {
  readonly #deps: VmDeps;
  readonly #queues: VmQueues;
  readonly #machines = new Map<VmId, Booted>();
  /** VMs whose start failed, and whose row could not be told that; with what it shall say. */
  readonly #unsettled = new Map<VmId, string | undefined>();
  /** Of VMs that ended, where they could not be removed. */
  readonly #deadRuntimes = new Map<VmId, string>();
  readonly #stalls: Stalls;

  constructor(deps: VmDeps, queues: VmQueues) {
    this.#deps = deps;
    this.#queues = queues;
    this.#stalls = new Stalls(deps);
  }

  add(id: VmId, booted: Booted): void {
    this.#machines.set(id, booted);
  }

  get(id: VmId): Booted | undefined {
    return this.#machines.get(id);
  }

  /** Why a machine stands still though it runs. */
  stall(id: VmId): Stall | undefined {
    return this.#stalls.get(id);
  }

  /** @throws {BangerError} `no_space` where the VM's machine stands still */
  async requireMoving(id: VmId, name: string): Promise<void> {
    const booted = this.#machines.get(id);
    if (booted) await this.#stalls.requireMoving(id, name, booted.machine);
  }

  /**
   * Writes down that the machine is gone, after everything of it was ended. Call from the VM's queue.
   *
   * @param how for people
   */
  async settle(id: VmId, how: string): Promise<void> {
    await this.#end(id, how);
    await this.#deps.events.add(vmPaths(this.#deps.paths, id).events, "stopped", how);
  }

  async #end(id: VmId, lastExit: string | undefined): Promise<void> {
    const { store, host, paths } = this.#deps;
    const { runtime } = vmPaths(paths, id);
    const vm = store.vms.get(id);
    const booted = this.#machines.get(id);
    if (booted) await stopProcess(host.processes, booted.state.relay);
    await detachNetwork(this.#deps, vm);
    await detachRootDisk(host, paths, vm);
    store.vms.transition("stop", id, "stopped", { machine: undefined, record: { lastExit } });
    this.#machines.delete(id);
    this.#stalls.forget(id);
    this.#unsettled.delete(id);
    try {
      await host.files.remove(runtime);
    } catch (thrown) {
      // Dead sockets are in nobody's way: the watch tries again, and so does the VM's next start.
      this.#deadRuntimes.set(id, runtime);
      host.log("warn", "cannot remove a runtime directory", { runtime, reason: reasonOf(thrown) });
    }
  }

  /**
   * A start that failed: ends what runs of it and writes that down, now or later. Never throws: the failure that led
   * here is the one to tell.
   *
   * @param lastExit what the VM said before
   */
  async abandon(id: VmId, booted: Booted | undefined, lastExit: string | undefined): Promise<void> {
    const { host, store } = this.#deps;
    const vm = store.vms.find(id);
    if (!vm || !mayBecome(vm.state, "stopped")) return void this.#unsettled.delete(id);
    if (booted) this.#machines.set(id, booted);
    try {
      if (booted) await stopMachine(this.#deps, vm, booted);
      await this.#end(id, lastExit);
    } catch (thrown) {
      host.log("error", "cannot undo a start; trying again later", { vm: id, reason: reasonOf(thrown) });
      this.#unsettled.set(id, lastExit);
    }
  }

  /** Runs until the signal fires. */
  async watch(signal: AbortSignal): Promise<void> {
    const { host } = this.#deps;
    for (let round = 1; !signal.aborted; round++) {
      // Side by side: one that does not answer keeps none of the others waiting.
      await Promise.all([...this.#machines.keys()].map(async (id) => {
        try {
          await this.#lookAt(id);
        } catch (thrown) {
          host.log("error", "cannot look at a machine", { vm: id, thrown });
        }
      }));
      if (round % ROUNDS_BETWEEN_RETRIES === 0) {
        await this.#tryAgain().catch((thrown) =>
          host.log("error", "cannot finish what failed before; trying again", { reason: reasonOf(thrown) })
        );
      }
      if (round % ROUNDS_BETWEEN_BOUNDS === 0) await this.#boundFiles();
      await host.clock.sleep(WATCH_INTERVAL_MS, signal).catch(() => {}); // the loop's condition sees it
    }
  }

  async #boundFiles(): Promise<void> {
    const { host, paths } = this.#deps;
    for (const [id, { machine }] of this.#machines) {
      try {
        await boundVmmFiles(host.files, vmPaths(paths, id), machine.record.driver);
      } catch (thrown) {
        host.log("warn", "cannot keep a VMM's files short", { vm: id, reason: reasonOf(thrown) });
      }
    }
  }

  /** What failed when it happened: a start's undo, a removal, a record beside the disks, sockets to remove. */
  async #tryAgain(): Promise<void> {
    const { host, store } = this.#deps;
    for (const [id, lastExit] of this.#unsettled) {
      if (this.#queues.isBusy(id)) continue;
      await this.#queues.run(id, () => this.abandon(id, this.#machines.get(id), lastExit));
    }
    for (const id of store.vms.idsIn("removing")) {
      if (this.#queues.isBusy(id)) continue;
      await this.#queues.run(id, async () => {
        if (store.vms.find(id)?.state === "removing") await finishRemoval(this.#deps, id);
      });
    }
    for (const [id, runtime] of this.#deadRuntimes) {
      if (this.#queues.isBusy(id)) continue;
      await this.#queues.run(id, async () => {
        if (!this.#machines.has(id)) await host.files.remove(runtime);
        this.#deadRuntimes.delete(id);
      });
    }
    for (const id of this.#deps.records.pending) {
      if (!this.#queues.isBusy(id)) await this.#queues.run(id, () => Promise.resolve());
    }
  }

  async #lookAt(id: VmId): Promise<void> {
    const { host, store } = this.#deps;
    const booted = this.#machines.get(id);
    // A change that is under way sees the machine's end itself.
    if (!booted || this.#queues.isBusy(id)) return;
    if (!(await booted.machine.isAlive())) {
      await this.#queues.run(id, async () => {
        if (this.#machines.get(id) !== booted) return;
        await booted.machine.kill(); // its helpers and sockets
        await this.settle(id, "ended by itself");
      });
    } else if (booted.state.relay && !(await host.processes.isAlive(booted.state.relay))) {
      await this.#queues.run(id, async () => {
        if (this.#machines.get(id) !== booted) return;
        const vm = store.vms.get(id);
        const relay = await startRelay(this.#deps, vm, booted.machine.record);
        const state = { ...booted.state, relay };
        this.#machines.set(id, { ...booted, state });
        store.vms.update(id, { machine: state });
        host.log("warn", "relay started again", { vm: vm.name });
      });
    } else {
      await this.#queues.run(id, async () => {
        if (this.#machines.get(id) === booted) await this.#stalls.look(id, booted.machine);
      });
    }
  }
}
