/** The user's repository, from the command line's side: what is asked for, said and sent. */
import type { AgentEndpointView, VmView } from "../api/contract.ts";
import { BangerError } from "../base/errors.ts";
import { quoteBytes } from "../base/tree_paths.ts";
import { formatBytes } from "../base/units.ts";
import type { StartInGuest } from "../workspace/guest.ts";
import type { Plan } from "../workspace/plan.ts";
import type { Staged, Workspaces } from "../workspace/workspaces.ts";
import { type Context, flag, type Input, type Option, textOption } from "./command.ts";
import { say, visible } from "./output.ts";

/** Names that a message shows before it counts. */
const SHOWN_NAMES = 5;

/** Flags of every command that sends a repository. */
export const WORKSPACE_OPTIONS: readonly Option[] = [
  { flags: "--branch <name>", summary: "a branch that only the VM has" },
  {
    flags: "--from <commit>",
    summary: "where that branch begins: its files, none of yours (needs --branch)",
  },
  { flags: "--full", summary: "the whole history and all branches; needed for submodules" },
  { flags: "--copy", summary: "send a directory that is in no repository as it is" },
  { flags: "--ignore-untracked", summary: "leave files away that git does not track" },
  { flags: "--include-secrets", summary: "send untracked files too that look like secrets (.env, keys)" },
];

/** Loaded when a repository is looked for: most commands never do. */
export async function openWorkspaces(context: Context): Promise<Workspaces> {
  const { Workspaces } = await import("../workspace/workspaces.ts");
  return new Workspaces(context.workspaceHost);
}

/**
 * What would be sent for these flags.
 *
 * @param path as the user wrote it; undefined for the current directory
 * @returns undefined outside a repository where none was asked for
 */
export async function planWorkspace(
  context: Context,
  workspaces: Workspaces,
  path: string | undefined,
  input: Input,
): Promise<Plan | undefined> {
  const branch = textOption(input, "branch");
  const from = textOption(input, "from");
  const plan = await workspaces.plan({
    path: context.absolutePath(path ?? ".").replace(/\/\.?$/, "") || "/",
    full: flag(input, "full"),
    ignoreUntracked: flag(input, "ignoreUntracked"),
    includeSecrets: flag(input, "includeSecrets"),
    copy: flag(input, "copy"),
    ...(branch === undefined ? {} : { branch }),
    ...(from === undefined ? {} : { from }),
  });
  if (plan || path === undefined && branch === undefined) return plan;
  throw new BangerError(
    "not_found",
    `Cannot send ${JSON.stringify(path ?? ".")}: it is in no git repository`,
    "Send the directory as it is: add --copy",
  );
}

/** What stays outside is said before anything is sent. */
export async function sayLeftOut({ terminal }: Context, { survey }: Plan): Promise<void> {
  const { secrets, nested } = survey;
  if (secrets.length > 0) {
    await say(
      terminal,
      `banger: left out, since they look like secrets: ${namesOf(secrets)} (--include-secrets sends them)`,
    );
  }
  if (nested.length > 0) {
    await say(terminal, `banger: left out, since they are repositories of their own: ${namesOf(nested)}`);
  }
}

/** The first of them, and how many more there are. */
export function namesOf(paths: readonly Parameters<typeof quoteBytes>[0][]): string {
  const more = paths.length - SHOWN_NAMES;
  return paths.slice(0, SHOWN_NAMES).map(quoteBytes).join(", ") + (more > 0 ? ` and ${more} more` : "");
}

/** Sends what is staged, and says how much it was and how long it took. Ctrl-C ends it. */
export async function sendWorkspace(
  context: Context,
  workspaces: Workspaces,
  staged: Staged,
  vm: Pick<VmView, "id">,
  endpoint: AgentEndpointView,
  isQuiet: boolean,
): Promise<void> {
  const { clock, terminal } = context;
  const startMs = clock.monotonicMs();
  const start = startInGuest(context, endpoint);
  const interrupted = new AbortController();
  const sessions: Disposable[] = [];
  const cancel = () => {
    const hint = "Run the command again";
    interrupted.abort(new BangerError("cancelled", "Cannot send the repository: interrupted", hint));
    for (const session of sessions) session[Symbol.dispose]();
  };
  using _interrupt = terminal.onSignal("SIGINT", cancel);
  using _terminate = terminal.onSignal("SIGTERM", cancel);
  try {
    await workspaces.send(staged, vm.id, async (argv) => {
      interrupted.signal.throwIfAborted();
      const session = await start(argv);
      sessions.push(session);
      return session;
    }, (path, content) => context.guest.sendArchive(vm, endpoint, path, content, interrupted.signal));
  } catch (failure) {
    await workspaces.discard(staged);
    interrupted.signal.throwIfAborted();
    throw failure;
  }
  if (isQuiet) return;
  for (const note of staged.repository.notes) await say(terminal, `banger: ${note}`);
  const { present } = staged.plan.survey;
  const size = formatBytes(present.reduce((sum, { stat }) => sum + stat.sizeBytes, 0));
  const seconds = ((clock.monotonicMs() - startMs) / 1000).toFixed(1);
  await say(terminal, `banger: sending the repository (${present.length} files, ${size}): ${seconds} s`);
}

/** Commands of ours in the guest: root's, whoever the image's commands run as. */
export function startInGuest({ guest }: Context, endpoint: AgentEndpointView): StartInGuest {
  return (argv) => guest.exec(endpoint, { argv, user: "root", cwd: "/" });
}

/** Tools that the repository names are installed beside whatever runs. */
export async function startTools(
  context: Context,
  workspaces: Workspaces,
  plan: Plan,
  endpoint: AgentEndpointView,
  isQuiet: boolean,
): Promise<void> {
  const tools = await workspaces.planTools(plan);
  if (tools.length === 0) return;
  await workspaces.installTools(startInGuest(context, endpoint), tools);
  if (isQuiet) return;
  const { toolsText } = await import("./workspace_plan.ts");
  await say(
    context.terminal,
    `banger: installing in the background: ${toolsText(tools)}; its log in the VM: /root/.banger/tools.log`,
  );
}

/**
 * Before a VM goes: work in it that nobody took out is kept on the host, and said.
 *
 * @returns false where it can't be told or kept: then the VM must stay
 */
export async function keepWork(
  context: Context,
  workspaces: Workspaces,
  vm: Pick<VmView, "id" | "name">,
  endpoint: AgentEndpointView,
): Promise<boolean> {
  const { terminal } = context;
  try {
    const review = await workspaces.review(vm, startInGuest(context, endpoint));
    await using _work = review.work;
    if (review.isSafe) return true;
    const { summaryOf } = await import("./review_text.ts");
    for (const line of summaryOf(review)) await say(terminal, line);
    if (review.submodules.length > 0 || review.nested.length > 0) {
      await say(terminal, `banger: VM ${vm.name} stays, since not all of its work can be kept as a patch`);
      return false;
    }
    const [patch, bundle] = await workspaces.keep(vm, review);
    await say(terminal, `banger: this work is kept: ${patch} (git apply takes it)`);
    if (bundle !== undefined) await say(terminal, `banger: and its commits: ${bundle} (git fetch takes it)`);
    return true;
  } catch (thrown) {
    if (!(thrown instanceof BangerError)) throw thrown;
    await say(
      terminal,
      `banger: VM ${vm.name} stays, since its work can't be told: ${visible(thrown.message)}`,
    );
    if (thrown.hint) await say(terminal, `  ${visible(thrown.hint)}`);
    return false;
  }
}
