import type { ConfigFile } from "../config/schema.ts";
import { VM_DEFAULTS } from "../base/vm_defaults.ts";
import type { VmSettings } from "../vm/settings.ts";
import type { VmmSettings } from "../vmm/drivers.ts";

/** What `config.toml` says of VMMs. */
export function vmmSettings({ vmm }: Pick<ConfigFile, "vmm">): VmmSettings {
  return { driver: vmm.driver, firecrackerProgram: vmm.firecracker };
}

/** What it says of running VMs. */
export function vmSettings({ disks }: Pick<ConfigFile, "disks">): VmSettings {
  return { reserveBytes: disks.reserve ?? VM_DEFAULTS.reserveBytes };
}
