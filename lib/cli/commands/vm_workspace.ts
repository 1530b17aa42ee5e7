/** The repository in a VM: sent, looked at, taken out. */
import type { VmView } from "../../api/contract.ts";
import { BangerError } from "../../base/errors.ts";
import type { Review } from "../../workspace/review.ts";
import type { Workspaces } from "../../workspace/workspaces.ts";
import { type Command, type Context, flag, type Input, requiredArgument, textOption } from "../command.ts";
import { print, printJson, say } from "../output.ts";
import { confirm } from "../confirm.ts";
import { QUIET_OPTION } from "../progress.ts";
import { isAsked, reviewAsJson, reviewAsText, riskLines, summaryOf } from "../review_text.ts";
import {
  openWorkspaces,
  planWorkspace,
  sayLeftOut,
  sendWorkspace,
  startInGuest,
  WORKSPACE_OPTIONS,
} from "../workspace.ts";
import { refreshRefusal } from "../workspace_refresh.ts";
import { runningEndpoint } from "./vm_lifecycle.ts";

const VM_ARGUMENT = { name: "vm", summary: "its name", completes: "vm" } as const;
const BASE_OPTION = {
  flags: "--base-commit <commit>",
  summary: "compare with this commit of the repository (default: with what was sent)",
} as const;
const JSON_OPTION = { flags: "--json", summary: "as JSON" } as const;

/** The work in a VM, as long as `act` looks at it. */
async function withReview<T>(
  context: Context,
  input: Input,
  act: (review: Review, vm: VmView, workspaces: Workspaces) => Promise<T>,
): Promise<T> {
  const client = await context.daemon.connect();
  const vm = await (await client.v1.vms[":name"].$get({ param: { name: requiredArgument(input, 0) } }))
    .json();
  const workspaces = await openWorkspaces(context);
  const start = startInGuest(context, runningEndpoint(vm));
  const review = await workspaces.review(vm, start, textOption(input, "baseCommit"));
  await using _work = review.work;
  return await act(review, vm, workspaces);
}

const prepare: Command = {
  path: ["vm", "workspace", "prepare"],
  summary: "send the repository into a running VM, or send it again",
  details:
    "Sends the repository of the path, or of the current directory, to /root/repo of a running VM. What was sent\n" +
    "before is replaced only if nothing was done in it, or all of it has been exported; with --discard always.\n" +
    "Files there that git ignores stay.",
  arguments: [VM_ARGUMENT, {
    name: "path",
    summary: "a directory of the repository (default: the current one)",
    optional: true,
    completes: "file",
  }],
  options: [
    ...WORKSPACE_OPTIONS,
    { flags: "--discard", summary: "even if work in the VM is lost by it" },
    QUIET_OPTION,
  ],
  async run(context, input) {
    const workspaces = await openWorkspaces(context);
    await using plan = await planWorkspace(context, workspaces, input.arguments[1] ?? ".", input);
    if (!plan) return 0;
    const client = await context.daemon.connect();
    const param = { name: requiredArgument(input, 0) };
    const vm = await (await client.v1.vms[":name"].$get({ param })).json();
    const endpoint = runningEndpoint(vm);
    await sayLeftOut(context, plan);
    if (!flag(input, "discard")) {
      const refusal = await refreshRefusal(workspaces, vm, startInGuest(context, endpoint));
      if (refusal) throw refusal;
    }
    const staged = await workspaces.stage(plan);
    await sendWorkspace(context, workspaces, staged, vm, endpoint, flag(input, "quiet"));
    return 0;
  },
};

const status: Command = {
  path: ["vm", "workspace", "status"],
  summary: "show what was done in a VM's repository since it was sent",
  arguments: [VM_ARGUMENT],
  options: [BASE_OPTION, JSON_OPTION],
  run: (context, input) =>
    withReview(context, input, async (review) => {
      if (flag(input, "json")) await printJson(context.terminal, reviewAsJson(review));
      else await print(context.terminal, reviewAsText(review));
      return 0;
    }),
};

const diff: Command = {
  path: ["vm", "workspace", "diff"],
  summary: "print what was done in a VM's repository as a patch",
  arguments: [VM_ARGUMENT],
  options: [BASE_OPTION],
  run: (context, input) =>
    withReview(context, input, async (review, _vm, workspaces) => {
      await printPatch(context, workspaces, review);
      return 0;
    }),
};

const exportWork: Command = {
  path: ["vm", "workspace", "export"],
  summary: "take the work out of a VM's repository: as a patch, onto your files, or as a branch",
  details:
    "Takes out everything that was done in a VM's repository since it was sent, commits made there included: as a\n" +
    "patch on standard output, or where the options say. --apply merges it into your working tree, or changes\n" +
    "nothing. --as-branch brings the commits themselves, as a new branch. Before anything lands it is listed what\n" +
    "could run on the host; that is asked about on a terminal, and elsewhere needs --yes.",
  arguments: [VM_ARGUMENT],
  options: [
    BASE_OPTION,
    { flags: "-o, --output <file>", summary: "write the patch there" },
    { flags: "--apply", summary: "merge it into the working tree that was sent; clean, or not at all" },
    { flags: "--as-branch <name>", summary: "bring the commits made in the VM, as a new branch" },
    { flags: "-y, --yes", summary: "do not ask" },
  ],
  run: (context, input) => withReview(context, input, (...given) => carryOut(context, input, ...given)),
};

async function carryOut(
  context: Context,
  input: Input,
  review: Review,
  vm: VmView,
  workspaces: Workspaces,
): Promise<number> {
  const { terminal } = context;
  const branch = textOption(input, "asBranch");
  const output = textOption(input, "output");
  const isApplied = flag(input, "apply");
  for (const line of summaryOf(review)) await say(terminal, line);
  const isEmpty = review.changes.length === 0 && review.commits === 0;
  if (isEmpty) {
    await say(terminal, "banger: nothing was done there");
    return 0;
  }
  for (const line of riskLines(review)) await say(terminal, line);
  if (isApplied || branch !== undefined) await askFirst(context, input, review);
  if (branch !== undefined) {
    const count = await workspaces.landBranch(review, branch);
    await say(
      terminal,
      `banger: branch ${JSON.stringify(branch)} has ${count} commit${count === 1 ? "" : "s"} of the VM`,
    );
  }
  if (isApplied) {
    const landing = await workspaces.prepareLanding(review);
    await landing.carryOut();
    await say(terminal, `banger: applied to ${review.work.record.top}: ${landing.changes.length} files`);
  }
  if (output !== undefined) {
    await workspaces.writePatch(review, context.absolutePath(output));
    await say(terminal, `banger: written to ${output}; apply it: git apply ${output}`);
  }
  if (!isApplied && branch === undefined && output === undefined) {
    await printPatch(context, workspaces, review);
  }
  // Commits alone are not all of it where files were changed after the last one.
  const isWhole = isApplied || output !== undefined || branch === undefined ||
    await hasNothingBesideCommits(review);
  if (isWhole && textOption(input, "baseCommit") === undefined) await workspaces.markExported(vm.id, review);
  else if (!isWhole) {
    await say(terminal, "banger: changes beside the commits stay in the VM: take them with --apply");
  }
  return 0;
}

async function hasNothingBesideCommits({ work }: Review): Promise<boolean> {
  const committed = (await work.read(["rev-parse", `${work.head}^{tree}`])).trim();
  return committed === work.tree;
}

async function askFirst(context: Context, input: Input, review: Review): Promise<void> {
  if (flag(input, "yes") || !isAsked(review)) return;
  if (await confirm(context, "Take it nevertheless?")) return;
  throw new BangerError(
    "wrong_state",
    "Cannot take the work out: it has what could run on the host, and that was not agreed to. Nothing was changed",
    "Look at it: banger vm workspace diff NAME; then add --yes",
  );
}

async function printPatch({ terminal }: Context, workspaces: Workspaces, review: Review): Promise<void> {
  for await (const chunk of await workspaces.patchStream(review)) await terminal.writeStdout(chunk);
}

export const VM_WORKSPACE_COMMANDS: readonly Command[] = [prepare, status, diff, exportWork];
