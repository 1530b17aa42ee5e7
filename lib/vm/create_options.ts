import { VM_DEFAULTS } from "../base/vm_defaults.ts";
import type { RootDiskMode, VmSpec } from "../store/records.ts";
import type { DriverName } from "../vmm/driver.ts";
import { networkSpec } from "./network.ts";

export interface CreateOptions {
  readonly name?: string;
  readonly image?: string;
  readonly kernel?: string;
  readonly cpus?: number;
  readonly memoryMib?: number;
  readonly workDiskBytes?: number;
  readonly network?: VmSpec["network"];
  readonly publish?: readonly string[];
  readonly forward?: boolean;
  readonly allowNet?: readonly string[];
  readonly transport?: VmSpec["transport"];
  readonly environment?: Readonly<Record<string, string>>;
  readonly gitIdentity?: { readonly name: string; readonly email: string };
  readonly vmm?: DriverName;
  readonly rootDisk?: RootDiskMode;
  readonly start?: boolean;
}

/** What a VM is made by, defaults filled in. */
export function specOf(options: CreateOptions, imageName: string, kernelName: VmSpec["kernelName"]): VmSpec {
  return {
    imageName,
    kernelName,
    cpus: options.cpus ?? VM_DEFAULTS.cpus,
    memoryMib: options.memoryMib ?? VM_DEFAULTS.memoryMib,
    workDiskBytes: options.workDiskBytes ?? VM_DEFAULTS.workDiskBytes,
    network: options.network ?? VM_DEFAULTS.network,
    ...networkSpec(options),
    transport: options.transport ?? "virtio-serial",
    environment: { ...options.environment },
    ...(options.gitIdentity ? { gitIdentity: options.gitIdentity } : {}),
    ...(options.vmm ? { vmm: options.vmm } : {}),
  };
}
