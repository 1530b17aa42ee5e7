import type { Services } from "../api/services.ts";
import { vmPaths } from "../store/paths.ts";
import { readConsoleText } from "../vm/console.ts";
import type { ServiceParts } from "./services.ts";
import { withDefaults } from "./create_defaults.ts";
import { vmView } from "./vm_view.ts";

/** The API's VM service over the rooms that do the work. */
export function vmServices(parts: ServiceParts): Services["vms"] {
  const { host, paths, store, operations, vms, events, config } = parts;
  const view = (nameOrId: string) => {
    const vm = store.vms.get(nameOrId);
    return vmView(host.files, paths, vm, vms.running.get(vm.id));
  };
  return {
    list: () =>
      Promise.all(store.vms.list().map((vm) => vmView(host.files, paths, vm, vms.running.get(vm.id)))),
    get: (nameOrId) => Promise.resolve().then(() => view(nameOrId)),
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
