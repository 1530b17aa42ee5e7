import type { VmView } from "../../api/contract.ts";
import { BangerError } from "../../base/errors.ts";
import { type Command, flag, requiredArgument } from "../command.ts";
import { CREATE_OPTIONS, createRequest } from "../create_flags.ts";
import { print } from "../output.ts";
import { carryOut, QUIET_OPTION } from "../progress.ts";

const VM_ARGUMENT = { name: "vm", summary: "its name", completes: "vm" } as const;

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

const start: Command = {
  path: ["vm", "start"],
  summary: "start a stopped VM",
  arguments: [VM_ARGUMENT],
  options: [QUIET_OPTION],
  async run(context, input) {
    const client = await context.daemon.connect();
    const param = { name: requiredArgument(input, 0) };
    await carryOut({ context, client, input }, client.v1.vms[":name"].start.$post({ param }));
    return 0;
  },
};

const stop: Command = {
  path: ["vm", "stop"],
  summary: "shut a VM down cleanly",
  details:
    "Shuts a VM down cleanly, waits, and cuts its power only where it does not end; it says when it had to.",
  arguments: [VM_ARGUMENT],
  options: [{ flags: "-f, --force", summary: "cut its power at once" }, QUIET_OPTION],
  async run(context, input) {
    const client = await context.daemon.connect();
    await carryOut(
      { context, client, input },
      client.v1.vms[":name"].stop.$post({
        param: { name: requiredArgument(input, 0) },
        json: { force: flag(input, "force") },
      }),
    );
    return 0;
  },
};

const remove: Command = {
  path: ["vm", "rm"],
  summary: "remove a VM and its disks",
  arguments: [{ ...VM_ARGUMENT, repeated: true }],
  options: [{ flags: "-f, --force", summary: "even while it runs" }, QUIET_OPTION],
  async run(context, input) {
    const client = await context.daemon.connect();
    for (const name of input.arguments) {
      if (name === undefined) continue;
      await carryOut(
        { context, client, input },
        client.v1.vms[":name"].remove.$post({
          param: { name },
          json: { force: flag(input, "force") },
        }),
      );
    }
    return 0;
  },
};

/** @throws {BangerError} `wrong_state` where it does not run */
export function runningEndpoint(vm: VmView): NonNullable<VmView["agent"]> {
  if (vm.paused) {
    throw new BangerError(
      "no_space",
      `Cannot reach into VM ${vm.name}: it stands still, since ${vm.paused.reason}`,
      "Free some space on the host, and it goes on",
    );
  }
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

export const VM_LIFECYCLE_COMMANDS: readonly Command[] = [create, start, stop, remove];
