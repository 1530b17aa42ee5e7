import type { VmView } from "../api/contract.ts";
import type { VmScope } from "../api/vm_contract.ts";
import type { VmState } from "../base/states.ts";
import type { Vm } from "../store/records.ts";
import type { Services } from "../api/services.ts";
import { vmPaths } from "../store/paths.ts";
import { readConsoleText } from "../vm/console.ts";
import type { ServiceParts } from "./services.ts";
import { withDefaults } from "./create_defaults.ts";
import { vmView } from "./vm_view.ts";

/** @returns what shows a VM as the API does */
export function viewer(
  { host, paths, vms, diskUsage }: Pick<ServiceParts, "host" | "paths" | "vms" | "diskUsage">,
) {
  return async (vm: Vm, trashKeepMs: number): Promise<VmView> => {
    const booted = vms.running.get(vm.id);
    const memoryUsedBytes = booted && await host.processes.memoryBytes(booted.machine.record.process);
    const diskUsedBytes = await diskUsage.usedBytes(vm);
    return {
      ...vmView(paths, vm, { booted, trashKeepMs, stall: vms.running.stall(vm.id), diskUsedBytes }),
      ...(memoryUsedBytes === undefined ? {} : { memoryUsedBytes }),
    };
  };
}

function isInScope(state: VmState, scope: VmScope): boolean {
  if (scope === "removed" || state === "removed") return scope === "removed" && state === "removed";
  return scope === "all" || (state !== "stopped" && state !== "suspended");
}

/** The API's VM service over the rooms that do the work. */
export function vmServices(parts: ServiceParts): Services["vms"] {
  const { host, paths, store, operations, vms, events, config } = parts;
  const view = viewer(parts);
  return {
    async list(scope) {
      // What lies in the trash is shown with the end of its time.
      const keepMs = scope === "removed" ? await parts.trashKeepMs() : 0;
      return await Promise.all(
        store.vms.list().filter(({ state }) => isInScope(state, scope)).map((vm) => view(vm, keepMs)),
      );
    },
    async get(nameOrId) {
      const vm = store.vms.get(nameOrId);
      // A configuration in error is no reason not to show, or reach, what has nothing to do with it.
      return await view(vm, vm.state === "removed" ? await parts.trashKeepMs() : 0);
    },
    create(request) {
      return operations.begin(
        "vm create",
        async (progress, signal) =>
          await vms.create(withDefaults(request, await config()), { progress, signal }),
      );
    },
    start(nameOrId) {
      const { name } = store.vms.get(nameOrId);
      return operations.begin("vm start", (progress, signal) => vms.start(name, { progress, signal }));
    },
    stop(nameOrId, options) {
      const { name } = store.vms.get(nameOrId);
      return operations.begin("vm stop", (progress, signal) => vms.stop(name, options, { progress, signal }));
    },
    remove(nameOrId, options) {
      const { name } = store.vms.get(nameOrId);
      return operations.begin("vm rm", (progress, signal) => vms.remove(name, options, { progress, signal }));
    },
    async console(nameOrId, { maxBytes }) {
      const { id } = store.vms.get(nameOrId);
      return await readConsoleText(host.files, vmPaths(paths, id).consoleLog, maxBytes);
    },
    events: async (nameOrId) => await events.list(vmPaths(paths, store.vms.get(nameOrId).id).events),
  };
}
