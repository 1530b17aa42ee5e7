import { firstFailure, reasonOf } from "../base/errors.ts";
import type { VmId } from "../base/names.ts";
import { mayBecome } from "../base/states.ts";
import { vmPaths } from "../store/paths.ts";
import type { Vm } from "../store/records.ts";
import type { VmDeps } from "./deps.ts";
import { discardUnfinishedRoot } from "./image_change.ts";
import { parseMachineState, UNKNOWN_MACHINE } from "./machine_state.ts";
import { stopProcess } from "./processes.ts";
import { findMissingDisk, findVmProcesses, finishRemoval, stopUnrecordedProcesses } from "./residue.ts";
import { detachNetwork } from "./network.ts";
import { detachRootDisk } from "./root_disk.ts";
import type { VmService } from "./service.ts";
import { takeInVms } from "./take_in.ts";

/** A machine that does not answer must not keep the others waiting: its VM's queue goes on looking at it. */
const PATIENCE_MS = 3000;

/**
 * Brings rows and reality together when the daemon starts: takes in what has no row, finishes and undoes what a
 * killed daemon left, adopts machines that still run, and cleans what has no owner. One VM that can't be read does
 * not keep the others waiting, and nothing unknown is taken for absent.
 *
 * Returns after `PATIENCE_MS` at the latest; commands for a VM that is still being looked at wait in its queue.
 *
 * @returns how many VMs were found without a row that can be read
 */
export async function reconcile(deps: VmDeps, service: VmService): Promise<number> {
  const { store, host, records } = deps;
  const takenIn = await takeInVms(deps);
  const vms = store.vms.list();
  const seeing = await seeingProcessesOnce(deps);
  const looking = Promise.all(vms.map((vm) =>
    service.queues.run(vm.id, async () => {
      records.suspect(vm.id);
      await reconcileSafely(seeing, service, vm);
    })
  ));
  const enough = new AbortController();
  const waiting = host.clock.sleep(PATIENCE_MS, enough.signal).then(() => "too long", () => "done");
  const outcome = await Promise.race([looking.then(() => "done"), waiting]);
  enough.abort();
  if (outcome !== "done") {
    const names = vms.filter(({ id }) => service.queues.isBusy(id)).map(({ name }) => name);
    host.log("warn", "some VMs take long to look at; the daemon starts without waiting for them", { names });
  }
  await removeStrayRuntimes(deps, new Set(vms.map(({ id }) => id)));
  return takenIn;
}

/**
 * One look at this host's processes for all VMs: with a look for each, a thousand VMs would take a minute. What is
 * started later cannot be missed, since a VM's own changes wait in its queue.
 */
async function seeingProcessesOnce(deps: VmDeps): Promise<VmDeps> {
  const { host, paths } = deps;
  try {
    const all = await host.processes.findByCommandLine(`${paths.runtimeDirectory}/vms/`);
    const findByCommandLine = (fragment: string) =>
      Promise.resolve(all.filter(({ commandLine }) => commandLine.includes(fragment)));
    return { ...deps, host: { ...host, processes: { ...host.processes, findByCommandLine } } };
  } catch (thrown) {
    host.log("warn", "cannot look at all processes at once", { reason: reasonOf(thrown) });
    return deps; // each VM's own look fails, or does not
  }
}

async function reconcileSafely(deps: VmDeps, service: VmService, vm: Vm): Promise<void> {
  const { store, host } = deps;
  try {
    await reconcileOne(deps, service, vm);
  } catch (thrown) {
    host.log("error", "cannot reconcile a VM", { vm: vm.name, thrown });
    const now = store.vms.find(vm.id);
    if (now && mayBecome(now.state, "broken")) {
      store.vms.transition("reconcile", vm.id, "broken", { brokenReason: reasonOf(firstFailure(thrown)) });
    }
  }
}

async function reconcileOne(deps: VmDeps, service: VmService, vm: Vm): Promise<void> {
  const { store, paths, events } = deps;
  if (vm.isUnannounced) return await discardUnannounced(deps, vm);
  switch (vm.state) {
    case "creating":
      store.vms.transition("discard", vm.id, "removing");
      await discard(deps, vm);
      return;
    case "removing":
      await discard(deps, vm);
      return;
    case "removed":
      await cleanUp(deps, vm);
      return;
    case "stopped":
    case "suspended":
      await cleanUp(deps, vm);
      await discardUnfinishedRoot(deps, vm);
      await breakWithoutDisks(deps, vm);
      return;
    case "starting":
      // Nobody was told yet that it runs: what half-runs is ended.
      await endMachine(deps, vm);
      store.vms.transition("stop", vm.id, "stopped", { machine: undefined });
      await events.add(vmPaths(paths, vm.id).events, "start undone", "the daemon ended meanwhile");
      return;
    case "running":
      await adopt(deps, service, vm);
      return;
    case "broken":
      if (await staysBroken(deps, vm)) return;
      await adopt(deps, service, vm.machine === UNKNOWN_MACHINE ? { ...vm, machine: undefined } : vm);
      return;
    case "stopping":
      // The stop was asked for: it goes on.
      await adopt(deps, service, vm);
      if (service.running.get(vm.id)) void resumeStop(deps, service, vm);
  }
}

/** Its disks were made, and it had not run yet: to whoever asked for it, it was never there. */
async function discardUnannounced(deps: VmDeps, vm: Vm): Promise<void> {
  const { store } = deps;
  await endMachine(deps, vm);
  if (vm.state === "starting") store.vms.transition("stop", vm.id, "stopped", { machine: undefined });
  if (vm.state !== "removing") store.vms.transition("discard", vm.id, "removing");
  await discard(deps, vm);
}

async function discard(deps: VmDeps, vm: Vm): Promise<void> {
  await cleanUp(deps, vm);
  await finishRemoval(deps, vm.id);
}

/** A disk that cannot be found may be on a volume that is not there just now: nothing is removed. */
async function breakWithoutDisks(deps: VmDeps, vm: Vm): Promise<void> {
  const missing = await findMissingDisk(deps, vm);
  if (!missing) return;
  deps.store.vms.transition("reconcile", vm.id, "broken", { brokenReason: `${missing} is missing` });
}

/** What made it broken may be over: the disk is there again, the process has ended. */
async function staysBroken(deps: VmDeps, vm: Vm): Promise<boolean> {
  if (vm.isUnreadable) return true;
  if (vm.machine === UNKNOWN_MACHINE) return (await findVmProcesses(deps, vm.id)).length > 0;
  return vm.machine === undefined && await findMissingDisk(deps, vm) !== undefined;
}

/** Nothing of a VM that does not run is left outside its directory. */
async function cleanUp(deps: VmDeps, vm: Vm): Promise<void> {
  const { host, paths } = deps;
  await stopUnrecordedProcesses(deps, vm.id);
  await detachNetwork(deps, vm);
  await detachRootDisk(host, paths, vm);
  await host.files.remove(vmPaths(paths, vm.id).runtime);
}

async function endMachine(deps: VmDeps, vm: Vm): Promise<void> {
  const { drivers, host } = deps;
  const state = parseMachineState(vm);
  if (state) {
    await (await drivers.named(state.record.driver).adopt(state.record))?.kill();
    await stopProcess(host.processes, state.relay);
  }
  await cleanUp(deps, vm);
}

async function adopt(deps: VmDeps, service: VmService, vm: Vm): Promise<void> {
  const { drivers, store, host, paths, events } = deps;
  const state = parseMachineState(vm);
  const machine = state && await drivers.named(state.record.driver).adopt(state.record);
  if (state && machine) {
    service.running.add(vm.id, { machine, state });
    if (vm.state !== "running") {
      store.vms.transition("adopt", vm.id, "running");
    }
    return;
  }
  if (state) await stopProcess(host.processes, state.relay);
  await cleanUp(deps, vm);
  const lastExit = "ended while the daemon was away";
  store.vms.transition("stop", vm.id, "stopped", { machine: undefined, record: { lastExit } });
  await events.add(vmPaths(paths, vm.id).events, "stopped", lastExit);
}

async function resumeStop(deps: VmDeps, service: VmService, vm: Vm): Promise<void> {
  const progress = { stage() {}, update() {}, note() {} };
  try {
    await service.stop(vm.id, { force: false }, { progress, signal: new AbortController().signal });
  } catch (thrown) {
    deps.host.log("error", "cannot finish a stop", { vm: vm.name, thrown });
  }
}

/** Runtime directories whose VM is gone. */
async function removeStrayRuntimes(deps: VmDeps, known: ReadonlySet<string>): Promise<void> {
  const { host, paths } = deps;
  const directory = `${paths.runtimeDirectory}/vms`;
  for (const id of await host.files.list(directory)) {
    if (known.has(id) || !/^[0-9a-f]{12}$/.test(id)) continue;
    await stopUnrecordedProcesses(deps, id as VmId);
    await host.files.remove(`${directory}/${id}`);
    host.log("info", "removed a runtime directory without a VM", { id });
  }
}
