import type { KernelView } from "../api/contract.ts";
import type { Operations } from "../api/operations.ts";
import type { Services } from "../api/services.ts";
import { buildId, type BuildStamp } from "../base/build.ts";
import { BangerError } from "../base/errors.ts";
import type { Host } from "../base/host.ts";
import { parseKernelName } from "../base/names.ts";
import type { ImageService } from "../image/service.ts";
import type { Kernel } from "../kernel/manifest.ts";
import type { KernelStore } from "../kernel/store.ts";
import { type Paths, vmPaths } from "../store/paths.ts";
import type { Store } from "../store/store.ts";
import { readConsoleText } from "../vm/console.ts";
import type { VmEvents } from "../vm/events.ts";
import type { VmService } from "../vm/service.ts";
import { imageServices } from "./image_services.ts";
import { vmView } from "./vm_view.ts";

export interface ServiceParts {
  readonly host: Host;
  readonly build: BuildStamp;
  readonly pid: number;
  readonly paths: Paths;
  readonly store: Store;
  readonly operations: Operations;
  readonly images: ImageService;
  readonly kernels: KernelStore;
  readonly vms: VmService;
  readonly events: VmEvents;
  shutdown(): void;
}

/** The API's services over the rooms that do the work. */
export function daemonServices(parts: ServiceParts): Services {
  const { operations } = parts;
  return {
    vms: vmServices(parts),
    images: imageServices(parts),
    kernels: kernelServices(parts),
    operations: {
      list: () => operations.list(),
      get: operations.get,
      events: operations.events,
      cancel: (id) => operations.cancel(id),
    },
    daemon: daemonService(parts),
  };
}

function vmServices({ host, paths, store, operations, vms, events }: ServiceParts): Services["vms"] {
  const view = (nameOrId: string) => {
    const vm = store.vms.get(nameOrId);
    return vmView(host.files, paths, vm, vms.running.get(vm.id));
  };
  return {
    list: () =>
      Promise.all(store.vms.list().map((vm) => vmView(host.files, paths, vm, vms.running.get(vm.id)))),
    get: (nameOrId) => Promise.resolve().then(() => view(nameOrId)),
    create(request) {
      const { environment, ...rest } = request;
      const options = Object.fromEntries(
        Object.entries({ ...rest, environment }).filter(([, value]) => value !== undefined),
      );
      return operations.begin("vm create", (progress, signal) => vms.create(options, { progress, signal }));
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

function kernelServices({ operations, kernels, store }: ServiceParts): Services["kernels"] {
  const view = (kernel: Kernel): KernelView => ({
    name: kernel.name,
    distribution: kernel.distribution,
    architecture: kernel.architecture,
    version: kernel.version,
    sha256: kernel.sha256,
    source: kernel.source,
    createdAt: kernel.createdAt,
  });
  return {
    list: async () => (await kernels.list()).map(view),
    get: async (name) => view(await kernels.get(parseKernelName(name))),
    pull(name) {
      const parsed = parseKernelName(name);
      return operations.begin(
        "kernel pull",
        async (progress, signal) => (await kernels.pull(parsed, progress, signal)).name,
      );
    },
    importDebs(name, debs) {
      const parsed = parseKernelName(name);
      return operations.begin(
        "kernel import",
        async (progress, signal) => (await kernels.importDeb(parsed, debs, progress, signal)).name,
      );
    },
    async remove(name) {
      const parsed = parseKernelName(name);
      const users = store.vms.list().filter(({ spec }) => spec.kernelName === parsed).map((vm) => vm.name);
      if (users.length > 0) {
        throw new BangerError(
          "in_use",
          `Cannot remove kernel ${parsed}: used by ${users.join(", ")}`,
          `Remove them first: banger vm rm ${users.join(" ")}`,
        );
      }
      await kernels.remove(parsed);
    },
  };
}

function daemonService({ build, pid, paths, operations, shutdown }: ServiceParts): Services["daemon"] {
  return {
    version: () => ({
      ...build,
      buildId: buildId(build),
      pid,
      stateDirectory: paths.stateDirectory,
      runningOperations: operations.runningCount(),
    }),
    shutdown({ force }) {
      const running = operations.runningCount();
      if (running > 0 && !force) {
        throw new BangerError(
          "in_use",
          `Cannot stop the daemon: ${running} ${running === 1 ? "operation is" : "operations are"} under way`,
          "Wait for them, or cancel them: banger daemon stop --force",
        );
      }
      shutdown();
    },
  };
}
