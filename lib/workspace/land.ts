/**
 * A guest's work onto the host's working tree: merged in banger's own repository first, and written only if
 * that went without a conflict and nothing on the host is in the way.
 */
import { BangerError } from "../base/errors.ts";
import { type ByteString, displayText } from "../base/tree.ts";
import { quoteBytes } from "../base/tree_paths.ts";
import { type Change, changesBetween, patchArguments } from "./changes.ts";
import { gitFailure, type HostGit, splitNul } from "./git.ts";
import type { GuestWork } from "./guest_work.ts";
import { writeIndex } from "./index_file.ts";
import type { Repository } from "./repository.ts";
import { commitWorkTree } from "./stage.ts";
import { GITLINK_MODE } from "./index_file.ts";
import type { Survey } from "./survey.ts";
import type { Files } from "../base/host.ts";

/** Conflicts that a refusal names before it counts. */
const SHOWN_CONFLICTS = 10;

interface LandRequest {
  readonly repository: Repository;
  /** Of the host's working tree as it is now, secrets included. */
  readonly survey: Survey;
  readonly work: GuestWork;
  /** Trees: what the work began with, and what it is now. */
  readonly base: ByteString;
  readonly theirs: ByteString;
}

/** What will happen to the host's files, ready to happen. */
export interface Landing {
  readonly changes: readonly Change[];
  /** @throws {BangerError} `wrong_state` where the host's files changed in between: nothing is written then */
  carryOut(): Promise<void>;
}

type Deps = { readonly git: HostGit; readonly files: Files };

/** @throws {BangerError} `wrong_state` where the work does not fit what the host has now */
export async function prepareLanding(deps: Deps, request: LandRequest): Promise<Landing> {
  const { work, repository, survey, base, theirs } = request;
  const nested = (await changesBetween(work, base, theirs)).find(({ newMode, oldMode }) =>
    newMode === GITLINK_MODE || oldMode === GITLINK_MODE
  );
  if (nested) throw movedSubmodule(nested.path);
  const own = { ...work.place, workTree: repository.top };
  const { git } = deps;
  const index = writeIndex(survey.index, repository.objectFormat);
  const indexFile = `${work.directory}/index-of-host`;
  const environment = { ...work.environment, GIT_INDEX_FILE: indexFile };
  const commit = await commitWorkTree(deps, own, survey, index, undefined, environment);
  const ours = (await work.read(["rev-parse", `${commit}^{tree}`])).trim() as ByteString;
  const result = ours === base ? theirs : await merge(work, base, ours, theirs);
  const changes = await changesBetween(work, ours, result);
  const write = async (extra: readonly string[]) => {
    const args = ["read-tree", "-m", "-u", ...extra, ours, result];
    const { code, stderr } = await git.run(own, args, { environment });
    if (code !== 0) throw inTheWay(stderr, code);
  };
  await write(["-n"]);
  return { changes, carryOut: () => write([]) };
}

/** @returns the merged tree */
async function merge(work: GuestWork, base: ByteString, ours: ByteString, theirs: ByteString) {
  const environment = { GIT_INDEX_FILE: `${work.directory}/index-of-merge` };
  await work.read(["read-tree", ours], { environment });
  const patch = `${work.directory}/work.patch`;
  await work.read([...patchArguments(base, theirs), `--output=${patch}`]);
  const applied = await work.run(["apply", "--cached", "--3way", "--whitespace=nowarn", patch], {
    environment,
  });
  const unmerged = await work.read(["ls-files", "--unmerged", "-z"], { environment });
  if (applied.code !== 0 || unmerged !== "") throw conflict(unmerged, applied);
  return (await work.read(["write-tree", "--missing-ok"], { environment })).trim() as ByteString;
}

function conflict(unmerged: ByteString, { stderr, code }: { stderr: string; code: number }): BangerError {
  const paths = [...new Set(splitNul(unmerged).map((entry) => entry.slice(entry.indexOf("\t") + 1)))];
  const shown = paths.slice(0, SHOWN_CONFLICTS).map((path) => quoteBytes(path as ByteString)).join(", ");
  const more = paths.length - SHOWN_CONFLICTS;
  const why = paths.length > 0
    ? `both sides changed ${shown}${more > 0 ? ` and ${more} more` : ""}`
    : displayText(gitFailure(["apply"], stderr, code).message as ByteString);
  return new BangerError(
    "wrong_state",
    `Cannot apply the VM's work: ${why}. Nothing was changed`,
    "Take it as a patch (--output FILE) or as a branch (--as-branch NAME), and merge it by hand",
  );
}

function inTheWay(stderr: string, code: number): BangerError {
  return new BangerError(
    "wrong_state",
    `Cannot apply the VM's work: something on the host is in the way: ${
      gitFailure(["read-tree"], stderr, code).message
    }`,
    "Move it away or commit it, then apply again",
  );
}

function movedSubmodule(path: ByteString): BangerError {
  return new BangerError(
    "wrong_state",
    `Cannot apply the VM's work: it changes the submodule ${quoteBytes(path)}, which no patch can carry`,
    "Push the submodule's commits from the VM, or take the rest as a patch: --output FILE",
  );
}
