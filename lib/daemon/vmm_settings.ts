import { AGENT_CREDENTIALS } from "../base/agent_tools.ts";
import { BangerError } from "../base/errors.ts";
import type { ConfigFile } from "../config/schema.ts";
import { VM_DEFAULTS } from "../base/vm_defaults.ts";
import type { FileSync } from "../vm/file_sync.ts";
import type { VmSettings } from "../vm/host_settings.ts";
import type { VmmSettings } from "../vmm/drivers.ts";

/** What `config.toml` says of VMMs. */
export function vmmSettings({ vmm }: Pick<ConfigFile, "vmm">): VmmSettings {
  return { driver: vmm.driver, firecrackerProgram: vmm.firecracker, jailer: vmm.jailer };
}

/** The guest's root user, as whom files are synced. */
const GUEST_HOME = "/root";

/**
 * What it says of running VMs.
 *
 * @param home of the user, for paths that begin with ~
 */
export function vmSettings(config: ConfigFile, home: string | undefined): VmSettings {
  return {
    reserveBytes: config.disks.reserve ?? VM_DEFAULTS.reserveBytes,
    fileSync: [...credentialFiles(config, home), ...configuredFiles(config, home)],
  };
}

function configuredFiles({ file_sync }: ConfigFile, home: string | undefined): FileSync[] {
  return file_sync.map(({ host, guest }) => ({
    hostPath: below(home, host, "file_sync"),
    guestPath: below(GUEST_HOME, guest ?? host, "file_sync"),
  }));
}

function credentialFiles({ agents }: ConfigFile, home: string | undefined): FileSync[] {
  const files = agents.credentials.flatMap((tool): readonly string[] => AGENT_CREDENTIALS[tool]);
  return files.map((file) => ({
    hostPath: below(home, `~/${file}`, "agents.credentials"),
    guestPath: `${GUEST_HOME}/${file}`,
    isOptional: true,
  }));
}

function below(home: string | undefined, path: string, key: string): string {
  if (!path.startsWith("~/")) return path;
  if (home?.startsWith("/")) return `${home}${path.slice(1)}`;
  throw new BangerError(
    "invalid_argument",
    `Cannot use ${path} in ${key} of config.toml: HOME is no absolute path`,
    "Write the whole path",
  );
}
