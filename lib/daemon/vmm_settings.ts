import type { ConfigFile } from "../config/schema.ts";
import type { VmmSettings } from "../vmm/drivers.ts";

/** What `config.toml` says of VMMs. */
export function vmmSettings({ vmm }: Pick<ConfigFile, "vmm">): VmmSettings {
  return { driver: vmm.driver, firecrackerProgram: vmm.firecracker };
}
