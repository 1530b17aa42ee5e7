import type { ApiClient } from "../../api/client.ts";
import type { CreateVm, VmView } from "../../api/contract.ts";
import { BangerError } from "../../base/errors.ts";
import type { Staged, Workspaces } from "../../workspace/workspaces.ts";
import { type Command, type Context, flag, type Input } from "../command.ts";
import { CREATE_OPTIONS, createRequest } from "../create_flags.ts";
import { execInGuest } from "../exec.ts";
import { say } from "../output.ts";
import { carryOut, QUIET_OPTION, showOperation } from "../progress.ts";
import { openWorkspaces, planWorkspace, sayLeftOut, sendWorkspace, WORKSPACE_OPTIONS } from "../workspace.ts";
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
    { flags: "--rm", summary: "remove the VM afterwards" },
    QUIET_OPTION,
  ],
  async run(context, input) {
    if (input.trailing?.length === 0) throw noCommand();
    const request = await createRequest(context, input);
    const workspaces = await openWorkspaces(context);
    using plan = input.options.repo === false
      ? undefined
      : await planWorkspace(context, workspaces, input.arguments[0], input);
    const client = await context.daemon.connect();
    if (input.trailing === undefined && !context.terminal.stdinIsTerminal) {
      await requireImageCommand(
        client,
        request.image ?? (await (await client.v1.defaults.$get()).json()).image,
      );
    }
    if (plan) await sayLeftOut(context, plan);
    const staging = plan && workspaces.stage(plan);
    const name = await createBeside(context, client, input, request, staging, workspaces);
    try {
      const code = await runInVm(context, client, name, input, workspaces, await staging);
      if (!flag(input, "rm")) await sayNextSteps(context, name, input);
      return code;
    } finally {
      if (flag(input, "rm")) await removeAfterRun(context, client, name);
    }
  },
};

/** Makes the VM while the repository is staged; where one fails, nothing of the other is left. */
async function createBeside(
  context: Context,
  client: ApiClient,
  input: Input,
  request: CreateVm,
  staging: Promise<Staged> | undefined,
  workspaces: Workspaces,
): Promise<string> {
  const creating = carryOut(
    { context, client, input },
    client.v1.vms.$post({ json: { ...request, start: true } }),
  );
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

async function runInVm(
  context: Context,
  client: ApiClient,
  name: string,
  input: Input,
  workspaces: Workspaces,
  staged: Staged | undefined,
): Promise<number> {
  const vm = await (await client.v1.vms[":name"].$get({ param: { name } })).json();
  const endpoint = runningEndpoint(vm);
  if (staged) await sendWorkspace(context, workspaces, staged, vm, endpoint, flag(input, "quiet"));
  const where = staged ? { user: REPOSITORY_USER, workingDirectory: REPOSITORY_DIRECTORY } : {};
  return await execInGuest(context, endpoint, { ...where, ...await whatRuns(context, client, vm, input) });
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

async function sayNextSteps({ terminal }: Context, name: string, input: Input): Promise<void> {
  if (flag(input, "quiet")) return;
  await say(
    terminal,
    `banger: VM ${name} still runs; enter it: banger vm ssh ${name}; remove it: banger vm rm --force ${name}`,
  );
}

export const VM_RUN_COMMANDS: readonly Command[] = [run];
