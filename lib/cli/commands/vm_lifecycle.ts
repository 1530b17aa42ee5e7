import type { ApiClient } from "../../api/client.ts";
import type { VmView } from "../../api/contract.ts";
import { BangerError } from "../../base/errors.ts";
import { type Command, type Context, flag, type Input } from "../command.ts";
import { CREATE_OPTIONS, createRequest } from "../create_flags.ts";
import { eachVm, VM_ARGUMENTS } from "../each_vm.ts";
import { execInGuest } from "../exec.ts";
import { print, say } from "../output.ts";
import { carryOut, QUIET_OPTION, showOperation } from "../progress.ts";

/** To the agent no words mean the user's login shell, whichever the image has. */
export const SHELL_ARGV: readonly string[] = [];

const create: Command = {
  path: ["vm", "create"],
  summary: "make a VM and start it",
  details: "Makes a VM from an image and starts it. It stays until it is removed.",
  options: [...CREATE_OPTIONS, { flags: "--no-start", summary: "leave it stopped" }, QUIET_OPTION],
  async run(context, input) {
    const request = await createRequest(context, input);
    const client = await context.daemon.connect();
    const name = await carryOut(
      { context, client, input },
      client.v1.vms.$post({
        json: { ...request, start: input.options.start !== false },
      }),
    );
    await print(context.terminal, name);
    return 0;
  },
};

const run: Command = {
  path: ["vm", "run"],
  aliases: [["run"]],
  summary: "make a VM and run a command, or a shell, in it",
  details:
    "Makes a VM, starts it and runs a command in it; without a command, a shell on a terminal, else the\n" +
    "image's own command. It runs as the image's user in the image's directory. Its exit code is banger's.\n" +
    " Ctrl-C goes to the command; a second one within two seconds leaves it.",
  trailing: "command…",
  options: [...CREATE_OPTIONS, { flags: "--rm", summary: "remove the VM afterwards" }, QUIET_OPTION],
  async run(context, input) {
    if (input.trailing?.length === 0) throw noCommand();
    const request = await createRequest(context, input);
    const client = await context.daemon.connect();
    if (input.trailing === undefined && !context.terminal.stdinIsTerminal) {
      await requireImageCommand(
        client,
        request.image ?? (await (await client.v1.defaults.$get()).json()).image,
      );
    }
    const name = await carryOut(
      { context, client, input },
      client.v1.vms.$post({ json: { ...request, start: true } }),
    );
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
  const endpoint = runningEndpoint(vm);
  if (input.trailing) return await execInGuest(context, endpoint, { argv: input.trailing });
  if (context.terminal.stdinIsTerminal) {
    return await execInGuest(context, endpoint, { argv: SHELL_ARGV, isShell: true });
  }
  return await execInGuest(context, endpoint, { argv: await getImageCommand(client, vm.image) });
}

/**
 * Refuses before a machine is made for nothing. What is still to be pulled shows only then what it is for,
 * but for the images of the catalog, which are for no program of their own.
 */
async function requireImageCommand(client: ApiClient, image: string): Promise<void> {
  try {
    await getImageCommand(client, image);
  } catch (thrown) {
    if (!(thrown instanceof BangerError && thrown.code === "not_found")) throw thrown;
    if (!/[/:]/.test(image)) throw noTerminal();
  }
}

async function getImageCommand(client: ApiClient, name: string): Promise<string[]> {
  const image = await (await client.v1.images[":name"].$get({ param: { name } })).json();
  if (image.command.length === 0) throw noTerminal();
  return image.command;
}

function noTerminal(): BangerError {
  return new BangerError(
    "invalid_argument",
    "Cannot run a shell: standard input is no terminal, and the image has no command of its own",
    "Give a command: banger vm run -- COMMAND…",
  );
}

async function removeAfterRun(context: Context, client: ApiClient, name: string): Promise<void> {
  const response = await client.v1.vms[":name"].remove.$post({
    param: { name },
    json: { force: true, purge: true },
  });
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
  summary: "start stopped VMs",
  arguments: [VM_ARGUMENTS],
  options: [QUIET_OPTION],
  async run(context, input) {
    const client = await context.daemon.connect();
    await eachVm(context, input, async (name) => {
      await carryOut({ context, client, input }, client.v1.vms[":name"].start.$post({ param: { name } }));
    });
    return 0;
  },
};

const stop: Command = {
  path: ["vm", "stop"],
  summary: "shut VMs down cleanly",
  details:
    "Shuts VMs down cleanly, waits, and cuts the power only of one that does not end; it says when it had to.",
  arguments: [VM_ARGUMENTS],
  options: [{ flags: "-f, --force", summary: "cut their power at once" }, QUIET_OPTION],
  async run(context, input) {
    const client = await context.daemon.connect();
    await eachVm(context, input, async (name) => {
      const json = { force: flag(input, "force") };
      await carryOut(
        { context, client, input },
        client.v1.vms[":name"].stop.$post({ param: { name }, json }),
      );
    });
    return 0;
  },
};

const remove: Command = {
  path: ["vm", "rm"],
  summary: "remove VMs; they stay in the trash for a while",
  details:
    "Puts VMs into the trash with all their disks: banger vm restore brings one back, until its time is over\n" +
    "(trash.keep in config.toml, else 7 days) or banger vm prune empties the trash.",
  arguments: [VM_ARGUMENTS],
  options: [
    { flags: "-f, --force", summary: "even while they run: their power is cut" },
    { flags: "--purge", summary: "for good, past the trash" },
    QUIET_OPTION,
  ],
  async run(context, input) {
    const client = await context.daemon.connect();
    await eachVm(context, input, async (name) => {
      const json = { force: flag(input, "force"), purge: flag(input, "purge") };
      await carryOut(
        { context, client, input },
        client.v1.vms[":name"].remove.$post({ param: { name }, json }),
      );
    });
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
