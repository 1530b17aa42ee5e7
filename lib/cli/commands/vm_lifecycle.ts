import type { VmView } from "../../api/contract.ts";
import { BangerError } from "../../base/errors.ts";
import { type Command, flag } from "../command.ts";
import { CREATE_OPTIONS, createRequest, gitIdentityField } from "../create_flags.ts";
import { carryOutEach, eachVm, VM_ARGUMENTS } from "../each_vm.ts";
import { print } from "../output.ts";
import { carryOut, QUIET_OPTION } from "../progress.ts";

/** To the agent no words mean the user's login shell, whichever the image has. */
export const SHELL_ARGV: readonly string[] = [];

const create: Command = {
  path: ["vm", "create"],
  summary: "make a VM and start it",
  details: "Makes a VM from an image and starts it. It stays until it is removed.",
  options: [...CREATE_OPTIONS, { flags: "--no-start", summary: "leave it stopped" }, QUIET_OPTION],
  async run(context, input) {
    const request = createRequest(context, input);
    const asking = gitIdentityField(context); // git runs while the daemon is reached
    asking.catch(() => {}); // where neither works out, the daemon's failure is told
    const client = await context.daemon.connect();
    const name = await carryOut(
      { context, client, input },
      client.v1.vms.$post({
        json: { ...request, ...await asking, start: input.options.start !== false },
      }),
    );
    await print(context.terminal, name);
    return 0;
  },
};

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
  run: (context, input) =>
    carryOutEach(
      context,
      input,
      (client, name) =>
        client.v1.vms[":name"].stop.$post({ param: { name }, json: { force: flag(input, "force") } }),
    ),
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
  run: (context, input) =>
    carryOutEach(
      context,
      input,
      (client, name) =>
        client.v1.vms[":name"].remove.$post({
          param: { name },
          json: { force: flag(input, "force"), purge: flag(input, "purge") },
        }),
    ),
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
