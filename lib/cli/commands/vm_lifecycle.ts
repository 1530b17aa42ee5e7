import type { ApiClient } from "../../api/client.ts";
import type { VmView } from "../../api/contract.ts";
import { BangerError } from "../../base/errors.ts";
import { type Command, type Context, flag, type Input, requiredArgument } from "../command.ts";
import { CREATE_OPTIONS, createRequest } from "../create_flags.ts";
import { execInGuest } from "../exec.ts";
import { print, say } from "../output.ts";
import { showOperation } from "../progress.ts";

const VM_ARGUMENT = { name: "vm", summary: "its name", completes: "vm" } as const;
const QUIET = { flags: "-q, --quiet", summary: "say nothing while working" } as const;

/** To the agent no words mean root's login shell, whichever the image has. */
export const SHELL_ARGV: readonly string[] = [];

const create: Command = {
  path: ["vm", "create"],
  summary: "make a VM and start it",
  details: "Makes a VM from an image and starts it. It stays until it is removed.",
  options: [...CREATE_OPTIONS, { flags: "--no-start", summary: "leave it stopped" }, QUIET],
  async run(context, input) {
    const request = await createRequest(context, input);
    const client = await context.daemon.connect();
    const response = await client.v1.vms.$post({
      json: { ...request, start: input.options.start !== false },
    });
    const name = await showOperation(context, client, await response.json(), { quiet: flag(input, "quiet") });
    await print(context.terminal, name);
    return 0;
  },
};

const run: Command = {
  path: ["vm", "run"],
  aliases: [["run"]],
  summary: "make a VM and run a command, or a shell, in it",
  details:
    "Makes a VM, starts it and runs a command in it; without a command, a shell. The command's exit code is\n" +
    "banger's. Ctrl-C goes to the command; a second one within two seconds leaves it.",
  trailing: "command…",
  options: [...CREATE_OPTIONS, { flags: "--rm", summary: "remove the VM afterwards" }, QUIET],
  async run(context, input) {
    if (input.trailing === undefined && !context.terminal.stdinIsTerminal) {
      throw new BangerError(
        "invalid_argument",
        "Cannot run a shell: standard input is no terminal",
        "Give a command: banger vm run -- COMMAND…",
      );
    }
    if (input.trailing?.length === 0) throw noCommand();
    const request = await createRequest(context, input);
    const client = await context.daemon.connect();
    const response = await client.v1.vms.$post({ json: { ...request, start: true } });
    const name = await showOperation(context, client, await response.json(), { quiet: flag(input, "quiet") });
    try {
      const code = await runInVm(context, client, name, input);
      if (!flag(input, "rm")) await sayNextSteps(context, name, input);
      return code;
    } finally {
      if (flag(input, "rm")) await removeAfterRun(context, client, name);
    }
  },
};

async function runInVm(context: Context, client: ApiClient, name: string, input: Input): Promise<number> {
  const vm = await (await client.v1.vms[":name"].$get({ param: { name } })).json();
  const isShell = input.trailing === undefined;
  return await execInGuest(context, runningEndpoint(vm), { argv: input.trailing ?? SHELL_ARGV, isShell });
}

async function removeAfterRun(context: Context, client: ApiClient, name: string): Promise<void> {
  const response = await client.v1.vms[":name"].remove.$post({ param: { name }, json: { force: true } });
  await showOperation(context, client, await response.json(), { quiet: true });
}

async function sayNextSteps({ terminal }: Context, name: string, input: Input): Promise<void> {
  if (flag(input, "quiet")) return;
  await say(
    terminal,
    `banger: VM ${name} still runs; enter it: banger vm ssh ${name}; remove it: banger vm rm --force ${name}`,
  );
}

const start: Command = {
  path: ["vm", "start"],
  summary: "start a stopped VM",
  arguments: [VM_ARGUMENT],
  options: [QUIET],
  async run(context, input) {
    const client = await context.daemon.connect();
    const response = await client.v1.vms[":name"].start.$post({
      param: { name: requiredArgument(input, 0) },
    });
    await showOperation(context, client, await response.json(), { quiet: flag(input, "quiet") });
    return 0;
  },
};

const stop: Command = {
  path: ["vm", "stop"],
  summary: "shut a VM down cleanly",
  details:
    "Shuts a VM down cleanly, waits, and cuts its power only where it does not end; it says when it had to.",
  arguments: [VM_ARGUMENT],
  options: [{ flags: "-f, --force", summary: "cut its power at once" }, QUIET],
  async run(context, input) {
    const client = await context.daemon.connect();
    const response = await client.v1.vms[":name"].stop.$post({
      param: { name: requiredArgument(input, 0) },
      json: { force: flag(input, "force") },
    });
    await showOperation(context, client, await response.json(), { quiet: flag(input, "quiet") });
    return 0;
  },
};

const remove: Command = {
  path: ["vm", "rm"],
  summary: "remove a VM and its disks",
  arguments: [{ ...VM_ARGUMENT, repeated: true }],
  options: [{ flags: "-f, --force", summary: "even while it runs" }, QUIET],
  async run(context, input) {
    const client = await context.daemon.connect();
    for (const name of input.arguments) {
      if (name === undefined) continue;
      const response = await client.v1.vms[":name"].remove.$post({
        param: { name },
        json: { force: flag(input, "force") },
      });
      await showOperation(context, client, await response.json(), { quiet: flag(input, "quiet") });
    }
    return 0;
  },
};

/** @throws {BangerError} `wrong_state` where it does not run */
export function runningEndpoint(vm: VmView): NonNullable<VmView["agent"]> {
  if (vm.agent) return vm.agent;
  throw new BangerError(
    "wrong_state",
    `Cannot reach into VM ${vm.name}: it is ${vm.state}`,
    vm.state === "stopped"
      ? `Start it first: banger vm start ${vm.name}`
      : `See its state: banger vm show ${vm.name}`,
  );
}

export function noCommand(): BangerError {
  return new BangerError(
    "invalid_argument",
    "Cannot run a command: none stands behind --",
    "Write it after --, such as: -- make test",
  );
}

export const VM_LIFECYCLE_COMMANDS: readonly Command[] = [run, create, start, stop, remove];
