import type { Services } from "../api/services.ts";
import { parseKernelName } from "../base/names.ts";
import type { ServiceParts } from "./services.ts";
import { viewer } from "./vm_services.ts";

/** Changes of VMs that are there, and the trash, over the room that does the work. */
export function vmChangeServices(parts: ServiceParts): Services["vmChanges"] {
  const { store, operations, vms, kernels } = parts;
  return {
    restart(nameOrId, options) {
      const { name } = store.vms.get(nameOrId);
      return operations.begin(
        "vm restart",
        (progress, signal) => vms.restart(name, options, { progress, signal }),
      );
    },
    kill(nameOrId) {
      const { name } = store.vms.get(nameOrId);
      return operations.begin("vm kill", (progress, signal) => vms.kill(name, { progress, signal }));
    },
    async plan(nameOrId, change) {
      const plan = vms.plan(nameOrId, change);
      if (change.kernel !== undefined) await kernels.requireObtainable(parseKernelName(change.kernel));
      return plan;
    },
    set(nameOrId, change) {
      const { name } = store.vms.get(nameOrId);
      return operations.begin("vm set", async (progress, signal) => {
        await vms.set(name, change, { progress, signal });
        return name;
      });
    },
    changeImage(nameOrId, change) {
      const { name } = store.vms.get(nameOrId);
      return operations.begin(
        "vm set",
        (progress, signal) =>
          "image" in change
            ? parts.imageChanges.change(name, change, { progress, signal })
            : parts.imageChanges.undo(name, { progress, signal }),
      );
    },
    async restore(nameOrId, newName) {
      return await viewer(parts)(await vms.trash.restore(nameOrId, newName), 0);
    },
    prune: (options) => vms.trash.prune(options),
  };
}
