import { firstFailure, reasonOf } from "../base/errors.ts";
import type { VmId } from "../base/names.ts";
import { mayBecome } from "../base/states.ts";
import { vmPaths } from "../store/paths.ts";
import type { Vm } from "../store/records.ts";
import type { VmDeps } from "./deps.ts";
import { parseMachineState } from "./machine_state.ts";
import { stopProcess } from "./processes.ts";
import { removeVmFiles, stopUnrecordedProcesses } from "./residue.ts";
import { detachRootDisk } from "./root_disk.ts";
import type { VmService } from "./service.ts";

/**
 * Brings rows and reality together when the daemon starts: finishes and undoes what a killed daemon left,
 * adopts machines that still run, and cleans what has no owner. One VM that can't be read does not keep
 * the others waiting, and nothing unknown is taken for absent.
 */
export async function reconcile(deps: VmDeps, service: VmService): Promise<void> {
  const { store, host } = deps;
  const vms = store.vms.list();
  await Promise.all(vms.map(async (vm) => {
    try {
      await reconcileOne(deps, service, vm);
    } catch (thrown) {
      host.log("error", "cannot reconcile a VM", { vm: vm.name, thrown });
      const reason = reasonOf(firstFailure(thrown));
      if (mayBecome(vm.state, "broken")) {
        store.vms.transition("reconcile", vm.id, "broken", { brokenReason: reason });
      }
    }
  }));
  await removeStrayRuntimes(deps, new Set(vms.map(({ id }) => id)));
}

async function reconcileOne(deps: VmDeps, service: VmService, vm: Vm): Promise<void> {
  const { store, paths, events } = deps;
  switch (vm.state) {
    case "creating":
      store.vms.transition("discard", vm.id, "removing");
      await discard(deps, vm);
      return;
    case "removing":
      await discard(deps, vm);
      return;
    case "stopped":
    case "suspended":
      await cleanUp(deps, vm);
      return;
    case "starting":
      // Nobody was told yet that it runs: what half-runs is ended.
      await endMachine(deps, vm);
      store.vms.transition("stop", vm.id, "stopped", { machine: undefined });
      await events.add(vmPaths(paths, vm.id).events, "start undone", "the daemon ended meanwhile");
      return;
    case "running":
    case "broken":
      await adopt(deps, service, vm);
      return;
    case "stopping":
      // The stop was asked for: it goes on.
      await adopt(deps, service, vm);
      if (service.running.get(vm.id)) void resumeStop(deps, service, vm);
  }
}

async function discard(deps: VmDeps, vm: Vm): Promise<void> {
  await cleanUp(deps, vm);
  await removeVmFiles(deps, vm.id);
  deps.store.vms.remove(vm.id);
}

/** Nothing of a VM that does not run is left outside its directory. */
async function cleanUp(deps: VmDeps, vm: Vm): Promise<void> {
  const { host, paths } = deps;
  await stopUnrecordedProcesses(deps, vm.id);
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
