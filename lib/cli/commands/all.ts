import type { Command } from "../command.ts";
import { completionCommands } from "./completion.ts";
import { CONFIG_COMMANDS } from "./config.ts";
import { DAEMON_COMMANDS } from "./daemon.ts";
import { DAEMON_UNIT_COMMANDS } from "./daemon_unit.ts";
import { DNS_COMMANDS } from "./dns.ts";
import { DOCTOR_COMMANDS } from "./doctor.ts";
import { UPGRADE_COMMANDS } from "./upgrade.ts";
import { IMAGE_COMMANDS } from "./image.ts";
import { KERNEL_COMMANDS } from "./kernel.ts";
import { NETWORK_COMMANDS } from "./network.ts";
import { SSH_CONFIG_COMMANDS } from "./ssh_config.ts";
import { SUPPORT_COMMANDS } from "./support.ts";
import { VM_ACCESS_COMMANDS } from "./vm_access.ts";
import { VM_ACP_COMMANDS } from "./vm_acp.ts";
import { OPERATION_COMMANDS } from "./operation.ts";
import { VM_STATS_COMMANDS } from "./vm_stats.ts";
import { VM_CHANGE_COMMANDS } from "./vm_change.ts";
import { VM_COPY_COMMANDS } from "./vm_copy.ts";
import { VM_LIST_COMMANDS } from "./vm_list.ts";
import { VM_LIFECYCLE_COMMANDS } from "./vm_lifecycle.ts";
import { VM_LOOK_COMMANDS } from "./vm_look.ts";
import { VM_SESSION_COMMANDS } from "./vm_session.ts";
import { VM_SSH_COMMANDS } from "./vm_ssh.ts";
import { VM_RUN_COMMANDS } from "./vm_run.ts";
import { VM_WORKSPACE_COMMANDS } from "./vm_workspace.ts";

/** By their whole path, the outer ones first. */
export const NOUNS: Readonly<Record<string, string>> = {
  vm: "virtual machines",
  "vm workspace": "the repository in a VM",
  "vm session": "commands in a VM that go on without you",
  image: "images that VMs are made from",
  kernel: "kernels that VMs boot",
  operation: "what the daemon is working on",
  "ssh-config": "plain ssh, scp and editors, for VMs",
  config: "the configuration file",
  network: "networks of this host",
  dns: "names of VMs on this host",
  daemon: "the daemon that owns them all",
  support: "what a bug report needs",
};

/** Every command, in the order that help shows them. */
export const COMMANDS: readonly Command[] = [
  ...VM_RUN_COMMANDS,
  ...VM_LIFECYCLE_COMMANDS,
  ...VM_CHANGE_COMMANDS,
  ...VM_COPY_COMMANDS,
  ...VM_LIST_COMMANDS,
  ...VM_LOOK_COMMANDS,
  ...VM_STATS_COMMANDS,
  ...VM_ACCESS_COMMANDS,
  ...VM_WORKSPACE_COMMANDS,
  ...VM_SSH_COMMANDS,
  ...VM_SESSION_COMMANDS,
  ...VM_ACP_COMMANDS,
  ...SSH_CONFIG_COMMANDS,
  ...NETWORK_COMMANDS,
  ...DNS_COMMANDS,
  ...IMAGE_COMMANDS,
  ...KERNEL_COMMANDS,
  ...OPERATION_COMMANDS,
  ...CONFIG_COMMANDS,
  ...DAEMON_COMMANDS,
  ...DAEMON_UNIT_COMMANDS,
  ...completionCommands(() => ({ commands: COMMANDS, nouns: NOUNS })),
  ...DOCTOR_COMMANDS,
  ...SUPPORT_COMMANDS,
  ...UPGRADE_COMMANDS,
];
