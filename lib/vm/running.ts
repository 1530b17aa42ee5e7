import type { VmId } from "../base/names.ts";
import { vmPaths } from "../store/paths.ts";
import { type Booted, startRelay } from "./boot.ts";
import type { VmDeps } from "./deps.ts";
import { stopProcess } from "./processes.ts";
import type { VmQueues } from "./queue.ts";
import { detachRootDisk } from "./root_disk.ts";

const WATCH_INTERVAL_MS = 500;

/** The machines that run now, and the watch over them: one that ends by itself is noticed within a second. */
export class RunningMachines {
  readonly #deps: VmDeps;
  readonly #queues: VmQueues;
  readonly #machines = new Map<VmId, Booted>();

  constructor(deps: VmDeps, queues: VmQueues) {
    this.#deps = deps;
    this.#queues = queues;
  }

  add(id: VmId, booted: Booted): void {
    this.#machines.set(id, booted);
  }

  get(id: VmId): Booted | undefined {
    return this.#machines.get(id);
  }

  /** Writes down that the machine is gone, after everything of it was ended. Call from the VM's queue. */
  async settle(id: VmId, how: string): Promise<void> {
    const { store, host, paths, events } = this.#deps;
    const booted = this.#machines.get(id);
    this.#machines.delete(id);
    if (booted) await stopProcess(host.processes, booted.state.relay);
    await detachRootDisk(host, paths, store.vms.get(id));
    await host.files.remove(vmPaths(paths, id).runtime);
    store.vms.transition("stop", id, "stopped", { machine: undefined, record: { lastExit: how } });
    await events.add(vmPaths(paths, id).events, "stopped", how);
  }

  /** Runs until the signal fires. */
  async watch(signal: AbortSignal): Promise<void> {
    const { host } = this.#deps;
    while (!signal.aborted) {
      for (const id of [...this.#machines.keys()]) {
        try {
          await this.#lookAt(id);
        } catch (thrown) {
          host.log("error", "cannot look at a machine", { vm: id, thrown });
        }
      }
      await host.clock.sleep(WATCH_INTERVAL_MS, signal).catch(() => {}); // the loop's condition sees it
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
        const relay = await startRelay(this.#deps, vm);
        const state = { ...booted.state, relay };
        this.#machines.set(id, { ...booted, state });
        store.vms.update(id, { machine: state });
        host.log("warn", "relay started again", { vm: vm.name });
      });
    }
  }
}
