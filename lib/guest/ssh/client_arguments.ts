import type { VmName } from "../../base/names.ts";

export interface SshTarget {
  readonly vmName: VmName;
  /** banger's own private key, 0600. */
  readonly identityPath: string;
  /** banger's own known_hosts, with a line for this VM. */
  readonly knownHostsPath: string;
  /** Program and arguments that carry the connection on stdin and stdout. */
  readonly proxyCommand: readonly string[];
  readonly user?: string;
}

/** The name a VM has in known_hosts, whatever address or port leads to it. */
export function hostKeyAlias(vmName: VmName): string {
  return `${vmName}.vm`;
}

/**
 * A line for banger's known_hosts.
 *
 * @param publicKey `ssh-ed25519 AAAA… comment`
 * Source: sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT"
 */
export function knownHostsLine(vmName: VmName, publicKey: string): string {
  const [algorithm, key] = publicKey.split(" ");
  return `${hostKeyAlias(vmName)} ${algorithm} ${key}\n`;
}

/**
 * Settings for the system's ssh, by keyword. The host key is known before the first connection, so a
 * machine that cannot show it is refused; a guest never gets the user's agent or X display.
 *
 * Source: ssh_config(5)
 * Exported for tests.
 */
export function sshSettings(target: SshTarget): ReadonlyMap<string, string> {
  return new Map([
    ["User", target.user ?? "root"],
    ["UserKnownHostsFile", quoteArgument(target.knownHostsPath)],
    ["HostKeyAlias", hostKeyAlias(target.vmName)],
    ["ProxyCommand", target.proxyCommand.map(quoteForShell).join(" ")],
    ...sharedSettings(target.identityPath),
    ["ControlPath", "none"],
    ["LogLevel", "ERROR"],
  ]);
}

/** Those that are the same for all VMs. */
export function sharedSettings(identityPath: string): ReadonlyMap<string, string> {
  return new Map([
    ["IdentityFile", quoteArgument(identityPath)],
    ["IdentitiesOnly", "yes"],
    ["GlobalKnownHostsFile", "none"],
    ["HostKeyAlgorithms", "ssh-ed25519"],
    ["StrictHostKeyChecking", "yes"],
    ["UpdateHostKeys", "no"],
    ["CheckHostIP", "no"],
    ["PreferredAuthentications", "publickey"],
    ["ForwardAgent", "no"],
    ["ForwardX11", "no"],
  ]);
}

/**
 * Arguments for the system's `ssh`. The user's own ssh_config still counts for what is not set here.
 *
 * @param command run instead of a login shell; passed on as ssh does: joined by spaces for the guest's shell
 */
export function sshArguments(target: SshTarget, command: readonly string[] = []): string[] {
  const settings = [...sshSettings(target)].flatMap(([keyword, value]) => ["-o", `${keyword}=${value}`]);
  return [...settings, "--", hostKeyAlias(target.vmName), ...command];
}

/** ssh expands % in file names; quotes keep spaces in one argument. */
export function quoteArgument(path: string): string {
  return `"${path.replaceAll("%", "%%")}"`;
}

/** The user's shell runs a ProxyCommand, after ssh expanded % in it. */
export function quoteForShell(argument: string): string {
  const expanded = argument.replaceAll("%", "%%");
  if (/^[A-Za-z0-9_./:=@,+-]+$/.test(expanded)) return expanded;
  return `'${expanded.replaceAll("'", `'\\''`)}'`;
}
