import type { ApiClient } from "../../api/client.ts";
import type { CreateVm, VmView } from "../../api/contract.ts";
import { BangerError } from "../../base/errors.ts";
import type { Plan } from "../../workspace/plan.ts";
import type { Staged, Workspaces } from "../../workspace/workspaces.ts";
import { type Command, type Context, flag, type Input } from "../command.ts";
import { CREATE_OPTIONS, createRequest, gitIdentityField } from "../create_flags.ts";
import { execInGuest } from "../exec.ts";
import { print, say } from "../output.ts";
import { carryOut, QUIET_OPTION, showOperation } from "../progress.ts";
import {
  keepWork,
  openWorkspaces,
  planWorkspace,
  sayLeftOut,
  sendWorkspace,
  startInGuest,
  startTools,
  WORKSPACE_OPTIONS,
} from "../workspace.ts";
import { refreshRefusal } from "../workspace_refresh.ts";
import { noCommand, runningEndpoint, SHELL_ARGV } from "./vm_lifecycle.ts";

/** Where a repository lies in the guest: `lib/workspace` has it there, too. */
const REPOSITORY_DIRECTORY = "/root/repo";
/** It is root's, whoever the image's own program runs as. */
const REPOSITORY_USER = "root";

const run: Command = {
  path: ["vm", "run"],
  aliases: [["run"]],
  summary: "make a VM with your repository in it, and run a command or a shell there",
  details:
    "Makes a VM and starts it. Inside a git repository (of the path, or of the current directory) that goes\n" +
    "along: its last commits, and the files as they are, changes and untracked ones included, at /root/repo.\n" +
    "The command runs there, as root; without a command, a shell on a terminal, else the image's own command.\n" +
    "Outside a repository it runs as the image's user in the image's directory. Its exit code is banger's.\n" +
    "Ctrl-C goes to the command; a second one within two seconds leaves it.",
  arguments: [{
    name: "path",
    summary: "a directory of the repository (default: the current one)",
    optional: true,
    completes: "file",
  }],
  trailing: "command…",
  options: [
    ...CREATE_OPTIONS,
    ...WORKSPACE_OPTIONS,
    { flags: "--no-repo", summary: "send nothing, even inside a repository" },
    { flags: "--no-tools", summary: "do not install the tools that the repository names" },
    { flags: "--plan", summary: "show what would be sent and installed, and do nothing" },
    { flags: "--discard", summary: "with --name: send again even if work in the VM is lost by it" },
    {
      flags: "--rm",
      summary: "remove the VM afterwards; work in it that was not exported is kept as a patch",
    },
    QUIET_OPTION,
  ],
  async run(context, input) {
    if (input.trailing?.length === 0) throw noCommand();
    const request = { ...createRequest(context, input), ...await gitIdentityField(context) };
    const workspaces = await openWorkspaces(context);
    await using plan = input.options.repo === false
      ? undefined
      : await planWorkspace(context, workspaces, input.arguments[0], input);
    if (flag(input, "plan")) return await showPlan(context, workspaces, plan);
    const client = await context.daemon.connect();
    const run: Run = { context, client, input, request, workspaces, plan };
    if (input.trailing === undefined && !context.terminal.stdinIsTerminal) {
      await requireImageCommand(
        client,
        request.image ?? (await (await client.v1.defaults.$get()).json()).image,
      );
    }
    if (plan) await sayLeftOut(context, plan);
    const existing = plan && request.name !== undefined ? await findVm(client, request.name) : undefined;
    return existing ? await runAgain(run, existing) : await runInNew(run);
  },
};

/** What is asked for, and what it takes. */
interface Run {
  readonly context: Context;
  readonly client: ApiClient;
  readonly input: Input;
  readonly request: CreateVm;
  readonly workspaces: Workspaces;
  readonly plan: Plan | undefined;
}

async function showPlan(context: Context, workspaces: Workspaces, plan: Plan | undefined): Promise<number> {
  const { planText } = await import("../workspace_plan.ts");
  const text = plan
    ? planText(plan, await workspaces.planTools(plan))
    : "Nothing would be sent: no repository";
  await print(context.terminal, text);
  return 0;
}

async function findVm(client: ApiClient, name: string): Promise<VmView | undefined> {
  try {
    return await (await client.v1.vms[":name"].$get({ param: { name } })).json();
  } catch (thrown) {
    if (thrown instanceof BangerError && thrown.code === "not_found") return undefined;
    throw thrown;
  }
}

async function runInNew(run: Run): Promise<number> {
  const { context, client, input, workspaces, plan } = run;
  const staging = plan && workspaces.stage(plan);
  const name = await createBeside(run, staging);
  let isSent = false;
  try {
    const vm = await (await client.v1.vms[":name"].$get({ param: { name } })).json();
    const staged = await staging;
    if (staged) await send(run, staged, vm);
    isSent = staged !== undefined;
    const code = await runInVm(run, vm);
    if (!flag(input, "rm")) await sayNextSteps(run, name);
    return code;
  } finally {
    if (flag(input, "rm") && (!isSent || await mayGo(run, name))) await removeAfterRun(context, client, name);
  }
}

/** In a VM that is there already: its checkout is refreshed first, unless that would lose work. */
async function runAgain(run: Run, existing: VmView): Promise<number> {
  const { context, client, input, workspaces, plan } = run;
  refuseOtherShape(existing, input);
  if (!existing.agent) {
    await carryOut(run, client.v1.vms[":name"].start.$post({ param: { name: existing.name } }));
  }
  const vm = await (await client.v1.vms[":name"].$get({ param: { name: existing.name } })).json();
  if (!flag(input, "discard")) {
    const refusal = await refreshRefusal(workspaces, vm, startInGuest(context, runningEndpoint(vm)));
    if (refusal) throw refusal;
  }
  await send(run, await workspaces.stage(plan as Plan), vm);
  const code = await runInVm(run, vm);
  await sayNextSteps(run, vm.name);
  return code;
}

/** @throws {BangerError} `already_exists` for flags that only a new VM can follow */
function refuseOtherShape(vm: VmView, input: Input): void {
  const asked = ["kernel", "cpus", "memory", "disk", "network", "env", "rm"].find((name) => {
    const value = input.options[name];
    return value !== undefined && value !== false && !(Array.isArray(value) && value.length === 0);
  });
  const image = input.options.image;
  const isOther = typeof image === "string" && image !== vm.image;
  if (asked === undefined && !isOther) return;
  throw new BangerError(
    "already_exists",
    `Cannot use --${asked ?? "image"} with VM ${vm.name}: it exists already${
      isOther ? `, made from ${vm.image}` : ""
    }`,
    `Leave the flag away, choose another --name, or remove it first: banger vm rm --force ${vm.name}`,
  );
}

async function mayGo({ context, client, workspaces }: Run, name: string): Promise<boolean> {
  const vm = await findVm(client, name);
  if (!vm?.agent) return true;
  return await keepWork(context, workspaces, vm, vm.agent);
}

/** Makes the VM while the repository is staged; where one fails, nothing of the other is left. */
async function createBeside(run: Run, staging: Promise<Staged> | undefined): Promise<string> {
  const { context, client, request, workspaces } = run;
  const creating = carryOut(run, client.v1.vms.$post({ json: { ...request, start: true } }));
  const [created, staged] = await Promise.allSettled([creating, staging]);
  if (created.status === "rejected") {
    if (staged.status === "fulfilled" && staged.value) await workspaces.discard(staged.value);
    throw created.reason;
  }
  if (staged.status === "rejected") {
    await removeAfterRun(context, client, created.value);
    throw staged.reason;
  }
  return created.value;
}

async function send({ context, workspaces, input }: Run, staged: Staged, vm: VmView): Promise<void> {
  const endpoint = runningEndpoint(vm);
  const isQuiet = flag(input, "quiet");
  await sendWorkspace(context, workspaces, staged, vm, endpoint, isQuiet);
  if (input.options.tools !== false) await startTools(context, workspaces, staged.plan, endpoint, isQuiet);
}

async function runInVm({ context, client, input, plan }: Run, vm: VmView): Promise<number> {
  const where = plan ? { user: REPOSITORY_USER, workingDirectory: REPOSITORY_DIRECTORY } : {};
  const what = await whatRuns(context, client, vm, input);
  return await execInGuest(context, runningEndpoint(vm), { ...where, ...what });
}

async function whatRuns(context: Context, client: ApiClient, vm: VmView, input: Input) {
  if (input.trailing) return { argv: input.trailing };
  if (context.terminal.stdinIsTerminal) return { argv: SHELL_ARGV, isShell: true };
  return { argv: await getImageCommand(client, vm.image) };
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

async function sayNextSteps({ context, input, plan }: Run, name: string): Promise<void> {
  if (flag(input, "quiet")) return;
  const take = plan ? `; take its work out: banger vm workspace export ${name} --apply` : "";
  await say(
    context.terminal,
    `banger: VM ${name} still runs; enter it: banger vm ssh ${name}${take}; remove it: banger vm rm --force ${name}`,
  );
}

export const VM_RUN_COMMANDS: readonly Command[] = [run];
