/** The user's repository, from the command line's side: what is asked for, said and sent. */
import type { AgentEndpointView, VmView } from "../api/contract.ts";
import { BangerError } from "../base/errors.ts";
import { quoteBytes } from "../base/tree_paths.ts";
import { formatBytes } from "../base/units.ts";
import type { StartInGuest } from "../workspace/guest.ts";
import type { Plan, Staged, Workspaces } from "../workspace/workspaces.ts";
import { type Context, flag, type Input, type Option, textOption } from "./command.ts";
import { say } from "./output.ts";

/** Names that a message shows before it counts. */
const SHOWN_NAMES = 5;

/** Flags of every command that sends a repository. */
export const WORKSPACE_OPTIONS: readonly Option[] = [
  { flags: "--branch <name>", summary: "a branch that only the VM has" },
  { flags: "--full", summary: "the whole history and all branches; needed for submodules" },
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
  const plan = await workspaces.plan({
    path: context.absolutePath(path ?? ".").replace(/\/\.?$/, "") || "/",
    full: flag(input, "full"),
    ignoreUntracked: flag(input, "ignoreUntracked"),
    includeSecrets: flag(input, "includeSecrets"),
    ...(branch === undefined ? {} : { branch }),
  });
  if (plan || path === undefined && branch === undefined) return plan;
  throw new BangerError(
    "not_found",
    `Cannot send ${JSON.stringify(path ?? ".")}: it is in no git repository`,
    "Make it one: git init",
  );
}

/** What stays outside is said before anything is sent. */
export async function sayLeftOut({ terminal }: Context, { survey }: Plan): Promise<void> {
  const { secrets, nested } = survey;
  if (secrets.length > 0) {
    await say(
      terminal,
      `banger: left out, since they look like secrets: ${names(secrets)} (--include-secrets sends them)`,
    );
  }
  if (nested.length > 0) {
    await say(terminal, `banger: left out, since they are repositories of their own: ${names(nested)}`);
  }
}

function names(paths: readonly Parameters<typeof quoteBytes>[0][]): string {
  const more = paths.length - SHOWN_NAMES;
  return paths.slice(0, SHOWN_NAMES).map(quoteBytes).join(", ") + (more > 0 ? ` and ${more} more` : "");
}

/** Sends what is staged, and says how much it was and how long it took. */
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
  await workspaces.send(staged, vm.id, startInGuest(context, endpoint));
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
