import type { DnsStatusView } from "../api/network_contract.ts";
import type { Operations } from "../api/operations.ts";
import type { Services } from "../api/services.ts";
import { buildId, type BuildStamp } from "../base/build.ts";
import { BangerError } from "../base/errors.ts";
import type { Host } from "../base/host.ts";
import type { ConfigFile } from "../config/schema.ts";
import type { ImageService } from "../image/service.ts";
import type { KernelStore } from "../kernel/store.ts";
import type { Paths } from "../store/paths.ts";
import type { Store } from "../store/store.ts";
import type { VmDeps } from "../vm/deps.ts";
import type { VmEvents } from "../vm/events.ts";
import type { ImageChanges } from "../vm/image_change.ts";
import type { VmService } from "../vm/service.ts";
import type { DiskUsage } from "./disk_usage.ts";
import { imageServices } from "./image_services.ts";
import { createDefaults } from "./create_defaults.ts";
import { kernelServices } from "./kernel_services.ts";
import { vmChangeServices } from "./vm_change_services.ts";
import { vmLookServices } from "./vm_look_services.ts";
import type { NamedBridge } from "./bridge_names.ts";
import { networkServices } from "./network_services.ts";
import { vmServices } from "./vm_services.ts";

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
  readonly imageChanges: ImageChanges;
  readonly diskUsage: DiskUsage;
  readonly events: VmEvents;
  /** Read anew each time: what the user changes holds from the next request on. */
  config(): Promise<ConfigFile>;
  trashKeepMs(): Promise<number>;
  /** For the user, about how this daemon came up. */
  readonly notices: readonly string[];
  readonly deps: VmDeps;
  /** The name server. */
  readonly names: { status(): Promise<DnsStatusView> };
  readonly bridge: NamedBridge;
  shutdown(): void;
}

/** The API's services over the rooms that do the work. */
export function daemonServices(parts: ServiceParts): Services {
  const { operations } = parts;
  return {
    vms: vmServices(parts),
    vmChanges: vmChangeServices(parts),
    vmLooks: vmLookServices(parts),
    images: imageServices(parts),
    kernels: kernelServices(parts),
    network: networkServices(parts),
    operations: {
      list: () => operations.list(),
      get: operations.get,
      events: operations.events,
      cancel: (id) => operations.cancel(id),
    },
    daemon: daemonService(parts),
  };
}

function daemonService(
  { build, pid, paths, operations, config, notices, shutdown }: ServiceParts,
): Services["daemon"] {
  return {
    version: () => ({
      ...build,
      buildId: buildId(build),
      pid,
      stateDirectory: paths.stateDirectory,
      runningOperations: operations.runningCount(),
      ...(notices.length === 0 ? {} : { notices: [...notices] }),
    }),
    defaults: async () => createDefaults(await config()),
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
