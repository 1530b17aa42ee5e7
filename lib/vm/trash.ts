import { BangerError } from "../base/errors.ts";
import { parseVmName, type VmId, type VmName } from "../base/names.ts";
import { wrongState } from "../base/states.ts";
import { vmPaths } from "../store/paths.ts";
import { trashedName, type Vm } from "../store/records.ts";
import { writeKnownHosts } from "./config_disk.ts";
import type { VmDeps } from "./deps.ts";
import type { VmQueues } from "./queue.ts";
import { finishRemoval } from "./residue.ts";
import { rootDiskPath } from "./root_disk.ts";

/** Nobody waits for it: space comes back within this after its time. */
const SWEEP_INTERVAL_MS = 15 * 60 * 1000;

export interface PruneOptions {
  /** Names or ids; absent: all. */
  readonly names?: readonly string[] | undefined;
  /** Only what was removed so long ago. */
  readonly olderThanMs?: number | undefined;
  /** Only says what would go. */
  readonly dryRun?: boolean | undefined;
}

export interface PrunedVm {
  readonly id: VmId;
  readonly name: VmName;
  readonly freedBytes: number;
}

/**
 * Removed VMs, kept for a while with all of their disks. Nothing is moved: a VM in the trash is a row in state
 * `removed`, so that no crash can leave half of one.
 */
export class Trash {
  readonly #deps: VmDeps;
  readonly #queues: VmQueues;

  constructor(deps: VmDeps, queues: VmQueues) {
    this.#deps = deps;
    this.#queues = queues;
  }

  /** Puts a VM that does not run into the trash. Call from the VM's queue. */
  async put(vm: Vm): Promise<void> {
    const { store, host, paths, events } = this.#deps;
    if (vm.isUnreadable) {
      throw new BangerError(
        "state_broken",
        `Cannot put VM ${vm.name} into the trash: its record cannot be read, so it could not come back`,
        `Its disks are below ${
          vmPaths(paths, vm.id).directory
        }. Remove it for good: banger vm rm --purge ${vm.name}`,
      );
    }
    await host.files.remove(vmPaths(paths, vm.id).runtime);
    store.vms.transition("remove", vm.id, "removed", {
      name: trashedName(vm.name, vm.id),
      machine: undefined,
      record: { removed: { atMs: host.clock.now(), name: vm.name } },
    });
    await events.add(vmPaths(paths, vm.id).events, "removed", "into the trash");
  }

  /**
   * Brings a VM back, stopped and with all it had.
   *
   * @param nameOrId of several with one name the one that was removed last
   * @param newName where its old name is taken
   * @throws {BangerError} `not_found`; `already_exists` where the name is taken
   */
  async restore(nameOrId: string, newName?: string): Promise<Vm> {
    const { store, host, paths, events } = this.#deps;
    const wanted = newName === undefined ? undefined : parseVmName(newName);
    const { id } = this.#find(nameOrId);
    return await this.#queues.run(id, async () => {
      const vm = store.vms.get(id);
      if (vm.state !== "removed" || !vm.removed) throw wrongState("restore", vm.name, vm.state);
      const name = wanted ?? vm.removed.name;
      if (store.vms.isTaken(name)) throw nameTaken(vm.removed.name, name, id);
      await writeKnownHosts(host.files, paths, { id, name });
      const restored = store.vms.transition("restore", id, "stopped", {
        name,
        record: { removed: undefined },
      });
      await events.add(vmPaths(paths, id).events, "restored", `as ${name}`);
      return restored;
    });
  }

  /** Removes for good what is in the trash. @returns what went, or would go */
  async prune({ names, olderThanMs = 0, dryRun = false }: PruneOptions): Promise<PrunedVm[]> {
    const { host } = this.#deps;
    const chosen = names?.length ? names.map((name) => this.#find(name)) : this.#list();
    const nowMs = host.clock.now();
    const pruned: PrunedVm[] = [];
    for (const vm of chosen) {
      if (!vm.removed || nowMs - vm.removed.atMs < olderThanMs) continue;
      const freedBytes = await this.#sizeBytes(vm);
      if (!dryRun && !(await this.#delete(vm.id))) continue;
      pruned.push({ id: vm.id, name: vm.removed.name, freedBytes });
    }
    if (!dryRun && pruned.length > 0) {
      host.log("info", "removed VMs for good", { vms: pruned.map(({ name, id }) => `${name} (${id})`) });
    }
    return pruned;
  }

  /** Removes for good what has been in the trash for its time. Runs until the signal fires. */
  async watch(signal: AbortSignal): Promise<void> {
    const { host } = this.#deps;
    while (!signal.aborted) {
      try {
        await this.prune({ olderThanMs: await this.#deps.trashKeepMs() });
      } catch (thrown) {
        host.log("error", "cannot empty the trash", { thrown });
      }
      await host.clock.sleep(SWEEP_INTERVAL_MS, signal).catch(() => {}); // the loop's condition sees it
    }
  }

  #list(): Vm[] {
    return this.#deps.store.vms.list().filter(({ state }) => state === "removed");
  }

  #find(nameOrId: string): Vm {
    const found = this.#list()
      .filter(({ id, name, removed }) => [id, name, removed?.name].some((one) => one === nameOrId))
      .sort((a, b) => (b.removed?.atMs ?? 0) - (a.removed?.atMs ?? 0))[0];
    if (found) return found;
    throw new BangerError(
      "not_found",
      `Cannot find a removed VM ${nameOrId}`,
      "See what is in the trash: banger vm list --removed",
    );
  }

  async #sizeBytes(vm: Vm): Promise<number> {
    const { host, paths } = this.#deps;
    const disks = [rootDiskPath(paths, vm), vmPaths(paths, vm.id).workDisk];
    const stats = await Promise.all(disks.map((path) => host.files.stat(path)));
    return stats.reduce((sum, stat) => sum + (stat?.allocatedBytes ?? 0), 0);
  }

  /** @returns false where it was brought back meanwhile */
  async #delete(id: VmId): Promise<boolean> {
    const { store } = this.#deps;
    return await this.#queues.run(id, async () => {
      if (store.vms.find(id)?.state !== "removed") return false;
      store.vms.transition("remove", id, "removing");
      await finishRemoval(this.#deps, id);
      return true;
    });
  }
}

function nameTaken(oldName: VmName, name: VmName, id: VmId): BangerError {
  return new BangerError(
    "already_exists",
    `Cannot restore VM ${oldName}: there is another VM ${name} now`,
    `Give it another name: banger vm restore --name NAME ${id}`,
  );
}
