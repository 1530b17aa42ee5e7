import { quoteArgument, quoteForShell, sharedSettings } from "./client_arguments.ts";

/**
 * Lines of an ssh configuration for all VMs. ssh puts the host's name in for `%h`, so that one block serves VMs
 * that do not exist yet.
 *
 * @param knownHostsDirectory has a file for each VM, called `NAME.vm`
 * Source: ssh_config(5), "TOKENS"
 */
export function sshConfigLines(target: {
  readonly identityPath: string;
  readonly knownHostsDirectory: string;
  readonly executable: string;
}): string[] {
  const knownHosts = quoteArgument(target.knownHostsDirectory).replace(/"$/, '/%h"');
  const settings = new Map([
    ...sharedSettings(target.identityPath),
    ["User", "root"],
    ["UserKnownHostsFile", knownHosts],
    ["ProxyCommand", `${quoteForShell(target.executable)} vm proxy %h 22`],
  ]);
  return ["Host *.vm", ...[...settings].map(([keyword, value]) => `  ${keyword} ${value}`)];
}
