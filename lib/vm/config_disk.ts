import { BRIDGE_NETWORK } from "../base/addresses.ts";
import type { Files } from "../base/host.ts";
import { type BootConfig, buildConfigTar, QEMU_USER_NETWORK } from "../guest/config/config_tar.ts";
import type { SyncedEntry } from "../guest/config/synced_files.ts";
import { hostKeyAlias, knownHostsLine } from "../guest/ssh/client_arguments.ts";
import { generateSshKeyPair } from "../guest/ssh/keys.ts";
import { encodeTrailer, WINDOW_BYTES } from "../guest/wire/window.ts";
import { type Paths, sshPaths, vmPaths } from "../store/paths.ts";
import { type ImageRecord, type Vm, vmAddress } from "../store/records.ts";

const MAX_KEY_BYTES = 16 * 1024;

/** banger's own key for its guests, made on first use. @returns the public key's line */
export async function ensureClientKey(files: Files, paths: Paths): Promise<string> {
  const { directory, clientKey, clientPublicKey } = sshPaths(paths);
  await files.makeDirectory(directory, 0o700);
  if (!(await files.stat(clientKey)) || !(await files.stat(clientPublicKey))) {
    const pair = generateSshKeyPair("banger");
    await files.writeAtomic(clientPublicKey, `${pair.publicKey}\n`, 0o644);
    await files.writeAtomic(clientKey, pair.privateKey, 0o600);
  }
  return (await files.readText(clientPublicKey, MAX_KEY_BYTES)).trim();
}

/** A host key for one VM, known to banger's ssh before the first connection. Not synced. */
export async function makeHostKey(files: Files, paths: Paths, vm: Vm): Promise<void> {
  const { hostKey } = vmPaths(paths, vm.id);
  const pair = generateSshKeyPair(`root@${vm.name}.vm`);
  await files.replace(hostKey, pair.privateKey, 0o600);
  await files.replace(`${hostKey}.pub`, `${pair.publicKey}\n`, 0o644);
  await writeKnownHosts(files, paths, vm);
}

/** Lets banger's ssh know the VM's host key by the VM's name. */
export async function writeKnownHosts(
  files: Files,
  paths: Paths,
  { id, name }: Pick<Vm, "id" | "name">,
): Promise<void> {
  const { hostKey, knownHosts } = vmPaths(paths, id);
  const publicKey = (await files.readText(`${hostKey}.pub`, MAX_KEY_BYTES)).trim();
  const line = knownHostsLine(name, publicKey);
  await writeWhereOther(files, knownHosts, line);
  const { knownHostsDirectory } = sshPaths(paths);
  await files.makeDirectory(knownHostsDirectory, 0o700);
  // Goes with the VM (residue.ts); a later VM of this name overwrites it.
  await writeWhereOther(files, `${knownHostsDirectory}/${hostKeyAlias(name)}`, line);
}

/** Each start looks: what a power cut took is written again. */
async function writeWhereOther(files: Files, path: string, text: string): Promise<void> {
  const sizeBytes = (await files.stat(path))?.sizeBytes;
  if (sizeBytes === text.length && await files.readText(path, sizeBytes) === text) return;
  await files.replace(path, text, 0o644);
}

/** Writes what the guest is told at this boot, and makes the window behind it (`guest/wire/window.ts`). */
export async function writeConfigDisk(
  files: Files,
  paths: Paths,
  vm: Vm,
  image: ImageRecord,
  syncedFiles: readonly SyncedEntry[],
): Promise<void> {
  // VMs of an older banger, too, and one that has the name of another again, become known to plain ssh.
  await writeKnownHosts(files, paths, vm);
  const { hostKey, configDisk } = vmPaths(paths, vm.id);
  const { config } = image;
  const boot: BootConfig = {
    guest: {
      schemaVersion: 1,
      vmId: vm.id,
      vmName: vm.name,
      defaults: {
        user: config.user || "root",
        workingDirectory: absolute(config.workingDirectory || "/root"),
        entrypoint: config.entrypoint,
        command: config.command,
      },
    },
    ...guestNetwork(vm),
    authorizedKeys: [await ensureClientKey(files, paths)],
    hostKey: {
      privateKey: await files.readText(hostKey, MAX_KEY_BYTES),
      publicKey: (await files.readText(`${hostKey}.pub`, MAX_KEY_BYTES)).trim(),
    },
    environment: { ...config.environment, ...vm.spec.environment },
    ...(vm.spec.gitIdentity ? { gitIdentity: vm.spec.gitIdentity } : {}),
    syncedFiles,
  };
  const tar = buildConfigTar(boot);
  await files.replace(configDisk, tar, 0o600);
  await using disk = await files.open(configDisk, { write: true });
  await disk.writeAt(encodeTrailer(crypto.randomUUID()), tar.length + WINDOW_BYTES);
}

function guestNetwork(vm: Vm): Pick<BootConfig, "network"> {
  if (vm.spec.network === "none") return {};
  if (vm.spec.network === "user") return { network: QEMU_USER_NETWORK };
  const { gateway, prefixLength } = BRIDGE_NETWORK;
  return { network: { address: vmAddress(vm), prefixLength, gateway, dnsServers: [gateway] } };
}

/** Image configurations may have a relative one; container engines start at the root directory, too. */
function absolute(path: string): string {
  return path.startsWith("/") ? path : `/${path}`;
}
