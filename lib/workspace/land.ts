/**
 * A guest's work onto the host's working tree: merged in banger's own repository first, and written only if
 * that went without a conflict and nothing on the host is in the way.
 */
import { BangerError } from "../base/errors.ts";
import { bytesOf, type ByteString } from "../base/tree.ts";
import type { TreeWriter } from "../base/tree_writer.ts";
import { quoteBytes } from "../base/tree_paths.ts";
import { type Change, changesBetween } from "./changes.ts";
import { gitFailure, gitWords, type HostGit } from "./git.ts";
import type { GuestWork } from "./guest_work.ts";
import { writeIndex } from "./index_file.ts";
import type { Repository } from "./repository.ts";
import { commitWorkTree } from "./stage.ts";
import { GITLINK_MODE } from "./index_file.ts";
import type { Survey } from "./survey.ts";
import { allOrNothing } from "./undo.ts";
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
  /**
   * @throws {BangerError} `wrong_state` where the host's files changed in between: nothing is written then; or where
   * writing fails: what was written is taken back
   */
  carryOut(): Promise<void>;
}

type Deps = {
  readonly git: HostGit;
  readonly files: Files;
  readonly openTreeWriter: (root: string) => TreeWriter;
};

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
  const environment = { GIT_INDEX_FILE: indexFile };
  const commit = await commitWorkTree(deps, own, survey, index, undefined, indexFile);
  const ours = (await work.read(["rev-parse", `${commit}^{tree}`])).trim() as ByteString;
  const result = ours === base ? theirs : await merge(deps, work, base, ours, theirs);
  const changes = await changesBetween(work, ours, result);
  const write = async (extra: readonly string[]) => {
    const args = ["read-tree", "-m", "-u", ...extra, ours, result];
    // What is kept to undo it has changed the files' ctime, and nothing else of them.
    const configuration = ["core.trustCtime=false"];
    const { code, stderr } = await git.run(own, args, { environment, configuration });
    if (code !== 0) throw inTheWay(stderr, code);
  };
  await write(["-n"]);
  const carryOut = async () => {
    using writer = deps.openTreeWriter(repository.top);
    await allOrNothing(writer, changes, () => write([]));
  };
  return { changes, carryOut };
}

/**
 * Three-way, path by path: what only one side changed is that side's; of what both did, texts are merged.
 *
 * @returns the merged tree
 */
async function merge(deps: Deps, work: GuestWork, base: ByteString, ours: ByteString, theirs: ByteString) {
  const environment = { GIT_INDEX_FILE: `${work.directory}/index-of-merge` };
  await work.read(["read-tree", ours], { environment });
  const byPath = new Map((await changesBetween(work, base, ours)).map((change) => [change.path, change]));
  const entries: string[] = [];
  const conflicts: ByteString[] = [];
  const theirChanges = await changesBetween(work, base, theirs);
  for (const change of theirChanges) {
    const { path, newMode, newOid } = change;
    const our = byPath.get(path);
    if (our && our.newOid === newOid && our.newMode === newMode) continue;
    const merged = our ? await mergeFile(deps, work, our, change) : { mode: newMode, oid: newOid };
    if (!merged) conflicts.push(path);
    else entries.push(`${merged.mode.toString(8).padStart(6, "0")} ${merged.oid}\t${path}\0`);
  }
  if (conflicts.length > 0) throw conflict(conflicts);
  const stdin = bytesOf(entries.join("") as ByteString);
  const taken = await work.run(["update-index", "-z", "--index-info"], { stdin, environment });
  if (taken.code !== 0) throw inTheWay(taken.stderr, taken.code);
  const tree = (await work.read(["write-tree", "--missing-ok"], { environment })).trim() as ByteString;
  // A file of one side where the other has a directory took all of it away: only they may delete.
  const deleted = new Set(theirChanges.filter(isDeletion).map(({ path }) => path));
  const lost = (await changesBetween(work, ours, tree)).filter(isDeletion).filter(({ path }) =>
    !deleted.has(path)
  );
  if (lost.length > 0) throw conflict(lost.map(({ path }) => path));
  return tree;
}

function isDeletion({ status }: Change): boolean {
  return status === "D";
}

const IS_FILE = new Set([0o100644, 0o100755]);

/** @returns undefined where only a person can tell what is meant */
async function mergeFile({ files, git }: Deps, work: GuestWork, our: Change, their: Change) {
  const modes = [our.oldMode, our.newMode, their.newMode];
  if (!modes.every((mode) => IS_FILE.has(mode))) return undefined;
  const mode = our.newMode === our.oldMode ? their.newMode : our.newMode;
  if (our.newOid === our.oldOid) return { mode, oid: their.newOid };
  if (their.newOid === their.oldOid) return { mode, oid: our.newOid };
  const sides = { ours: our.newOid, base: our.oldOid, theirs: their.newOid };
  for (const [name, oid] of Object.entries(sides)) {
    const { stdout, result } = await git.stream(work.place, ["cat-file", "blob", oid]);
    await writeStream(files, `${work.directory}/${name}`, stdout);
    const { code, stderr } = await result;
    if (code !== 0) throw gitFailure(["cat-file"], stderr, code);
  }
  const paths = Object.keys(sides).map((name) => `${work.directory}/${name}`);
  const { code } = await work.run(["merge-file", "--quiet", ...paths]);
  if (code !== 0) return undefined;
  const hashed = await work.read(["hash-object", "-w", "--no-filters", "--", paths[0]!]);
  return { mode, oid: hashed.trim() as ByteString };
}

async function writeStream(files: Files, path: string, stream: AsyncIterable<Uint8Array>): Promise<void> {
  await using file = await files.open(path, { write: true, create: true, truncate: true, mode: 0o600 });
  let at = 0;
  for await (const chunk of stream) {
    await file.writeAt(chunk, at);
    at += chunk.length;
  }
}

function conflict(paths: readonly ByteString[]): BangerError {
  const shown = paths.slice(0, SHOWN_CONFLICTS).map(quoteBytes).join(", ");
  const more = paths.length - SHOWN_CONFLICTS;
  return new BangerError(
    "wrong_state",
    `Cannot apply the VM's work: both sides changed ${shown}${
      more > 0 ? ` and ${more} more` : ""
    }. Nothing was changed`,
    "Take it as a patch (--output FILE) or as a branch (--as-branch NAME), and merge it by hand",
  );
}

function inTheWay(stderr: string, code: number): BangerError {
  return new BangerError(
    "wrong_state",
    `Cannot apply the VM's work: something on the host is in the way: ${gitWords(stderr, code)}`,
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
