import { BangerError, reasonOf } from "../base/errors.ts";
import type { ImageId, VmId, VmName } from "../base/names.ts";
import { vmPaths } from "../store/paths.ts";
import { UNKNOWN_RECORD, type Vm } from "../store/records.ts";
import type { VmDeps } from "./deps.ts";
import { UNKNOWN_MACHINE } from "./machine_state.ts";
import { readVmRecord } from "./record_file.ts";
import { findVmProcesses } from "./residue.ts";

const VM_ID = /^[0-9a-f]{12}$/;

/**
 * Gives every VM that lies on the disk a row that can be read: all of them after the database was lost, one after
 * its row was damaged. What cannot be read becomes a broken VM; nothing is removed.
 *
 * @returns how many were taken in or mended
 */
export async function takeInVms(deps: VmDeps): Promise<number> {
  const { host, paths, store } = deps;
  const rows = new Map(store.vms.list().map((vm) => [vm.id, vm]));
  let count = 0;
  for (const name of await host.files.list(paths.vmsDirectory)) {
    if (!VM_ID.test(name)) continue;
    const id = name as VmId;
    const row = rows.get(id);
    // One that was being removed goes on to be removed.
    if (row && (!row.isUnreadable || row.state === "removing")) continue;
    try {
      if (row) await mend(deps, row);
      else await takeIn(deps, id);
      count++;
    } catch (thrown) {
      host.log("error", "cannot take in a VM", { id, reason: reasonOf(thrown) });
    }
  }
  return count;
}

async function mend(deps: VmDeps, row: Vm): Promise<void> {
  const { host, paths, store, events } = deps;
  const { record, events: eventsPath } = vmPaths(paths, row.id);
  const kept = settled(await readVmRecord(host.files, record, row.id));
  store.vms.mend({ ...kept, name: row.name, number: row.number });
  host.log("warn", "mended a VM's row from the record beside its disks", { vm: row.name });
  await events.add(eventsPath, "recovered", "its row in the database was damaged");
}

async function takeIn(deps: VmDeps, id: VmId): Promise<void> {
  const { host, paths, store, events } = deps;
  const { record, events: eventsPath } = vmPaths(paths, id);
  const kept = await readVmRecord(host.files, record, id).then(settled, (thrown: unknown) => {
    if (!(thrown instanceof BangerError)) throw thrown;
    return unknownVm(id, thrown.message);
  });
  const running = kept.state === "stopped" ? await findVmProcesses(deps, id) : [];
  const vm = store.vms.takeIn({
    ...kept,
    name: freeName(deps, kept.name, id),
    // Its copy is older than what runs: neither is to be trusted.
    ...(running.length === 0 ? {} : {
      state: "broken",
      machine: UNKNOWN_MACHINE,
      brokenReason: `process ${running[0]!.pid} runs it, and its record does not know that`,
    }),
  });
  host.log("warn", "took in a VM that had no row", { vm: vm.name, id, state: vm.state });
  await events.add(eventsPath, "recovered", "the database had no row for it");
}

/** A copy tells how things stood when it was written. What was then under way is looked at, not undone. */
function settled({ isUnannounced: _, ...vm }: Vm): Vm {
  if (vm.state === "starting" || vm.state === "stopping") return { ...vm, state: "running" };
  if (vm.state === "creating" || vm.state === "removing") return { ...vm, state: "broken" };
  return vm;
}

function unknownVm(id: VmId, brokenReason: string): Vm {
  return {
    ...UNKNOWN_RECORD,
    id,
    name: `recovered-${id}` as VmName,
    number: 0,
    imageId: "unknown" as ImageId,
    state: "broken",
    brokenReason,
    isUnreadable: true,
  };
}

/** Two VMs of one name can meet only where a database from another time lay there. */
function freeName({ store }: VmDeps, wanted: VmName, id: VmId): VmName {
  return store.vms.isTaken(wanted) ? `recovered-${id}` as VmName : wanted;
}
