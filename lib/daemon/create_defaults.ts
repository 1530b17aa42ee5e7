import type { CreateVm, VmDefaultsView } from "../api/contract.ts";
import { VM_DEFAULTS } from "../base/vm_defaults.ts";
import type { ConfigFile } from "../config/schema.ts";
import type { CreateOptions } from "../vm/create_options.ts";

/**
 * What is asked for, with the configuration's defaults where it says nothing. A VM keeps what it was made
 * with: later changes of the configuration are for later VMs.
 */
export function withDefaults(request: CreateVm, { defaults }: Pick<ConfigFile, "defaults">): CreateOptions {
  const { environment, memory, disk, root_disk, ...others } = defaults;
  const filled = {
    ...present(others),
    ...present({ memoryMib: memory, workDiskBytes: disk, rootDisk: root_disk }),
    ...present(request),
    environment: { ...environment, ...request.environment },
  };
  return filled;
}

/** The configuration's defaults, and the built-in ones behind them. */
export function createDefaults({ defaults }: Pick<ConfigFile, "defaults">): VmDefaultsView {
  return {
    image: defaults.image ?? VM_DEFAULTS.image,
    cpus: defaults.cpus ?? VM_DEFAULTS.cpus,
    memoryMib: defaults.memory ?? VM_DEFAULTS.memoryMib,
    workDiskBytes: defaults.disk ?? VM_DEFAULTS.workDiskBytes,
    network: defaults.network ?? VM_DEFAULTS.network,
    environment: { ...defaults.environment },
  };
}

/** Without what is undefined: optional fields are absent or have a value. */
function present<T extends object>(values: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]?: Exclude<T[K], undefined>;
  };
}
