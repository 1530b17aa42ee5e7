/** A guest's work as the user is shown it, before anything lands. */
import { BangerError } from "../base/errors.ts";
import type { Files } from "../base/host.ts";
import { quote } from "../base/names.ts";
import type { ByteString } from "../base/tree.ts";
import { countCommits } from "./branch.ts";
import { baseTree, type Change, changesBetween, patchArguments, withoutNewRepositories } from "./changes.ts";
import type { HostGit, OwnPlace } from "./git.ts";
import type { GuestWork } from "./guest_work.ts";
import { readObjects } from "./objects.ts";
import type { Repository } from "./repository.ts";
import { findRisks, LOOKED_AT_BYTES, type Risk } from "./risks.ts";

/** Whose contents are held at once. */
const GROUP = 100;

export interface Review {
  readonly work: GuestWork;
  /** Trees: from where, and to where. */
  readonly from: ByteString;
  readonly to: ByteString;
  readonly changes: readonly Change[];
  readonly risks: readonly Risk[];
  /** Made in the guest. */
  readonly commits: number;
  /** Repositories that were put into the tree: they stay in the guest. */
  readonly nested: readonly ByteString[];
  /** Submodules in which something was done: a patch does not carry it. */
  readonly submodules: readonly string[];
  /** Whether all of it has been taken out before, or nothing was done. */
  readonly isSafe: boolean;
  /** Where both sides are. */
  readonly place: OwnPlace;
}

/**
 * @param baseCommit compare with this commit of the user's repository instead of with what was sent
 * @throws {BangerError} `not_found` for a commit that is not there
 */
export async function reviewWork(
  git: HostGit,
  work: GuestWork,
  baseCommit?: { readonly name: string; readonly repository: Repository },
): Promise<Review> {
  const sent = await baseTree(work);
  const { tree, nested } = await withoutNewRepositories(work, sent);
  const { tree: from, place } = baseCommit
    ? await userTree(git, work, baseCommit)
    : { tree: sent, place: work.place };
  const changes = await changesBetween({ read: (args, input) => git.read(place, args, input) }, from, tree);
  const risks: Risk[] = [];
  for (let at = 0; at < changes.length; at += GROUP) {
    const group = changes.slice(at, at + GROUP);
    const oids = group.filter(({ status }) => status !== "D").flatMap((
      { oldOid, newOid },
    ) => [oldOid, newOid]);
    const texts = await readObjects(git, place, oids.filter(isPresent), LOOKED_AT_BYTES);
    risks.push(...await findRisks(group, (oid) => Promise.resolve(texts.get(oid) ?? "" as ByteString)));
  }
  const commits = await countCommits(work);
  const { exported } = work.record;
  const submodules = (work.record.submodules ?? []).filter((sent, i) => {
    const now = work.submodules[i];
    return now?.tree !== sent.tree || now.head !== sent.head;
  }).map(({ path }) => path);
  const isUntouched = work.tree === sent && (work.head ?? undefined) === work.record.head;
  const isExported = exported?.tree === work.tree && exported.head === work.head;
  return {
    work,
    from,
    to: tree,
    changes,
    risks,
    commits,
    nested,
    submodules,
    isSafe: (isUntouched || isExported) && submodules.length === 0,
    place,
  };
}

function isPresent(oid: ByteString): boolean {
  return !/^0+$/.test(oid);
}

async function userTree(
  git: HostGit,
  work: GuestWork,
  { name, repository }: { readonly name: string; readonly repository: Repository },
) {
  const asked = ["rev-parse", "--quiet", "--verify", "--end-of-options", `${name}^{tree}`];
  const { code, stdout } = await git.run(repository.place, asked);
  if (code !== 0) {
    throw new BangerError(
      "not_found",
      `Cannot compare with ${quote(name)}: the repository has no such commit`,
      `See its commits: git -C ${repository.top} log`,
    );
  }
  const objects = `${repository.commonDirectory}/objects`.replaceAll(/["\\]/g, "\\$&");
  const alternates = `${work.place.environment.GIT_ALTERNATE_OBJECT_DIRECTORIES}:"${objects}"`;
  const environment = { ...work.place.environment, GIT_ALTERNATE_OBJECT_DIRECTORIES: alternates };
  return { tree: stdout.trim() as ByteString, place: { ...work.place, environment } };
}

/** The work as a patch, in a file that goes with the work. @returns its path */
export async function makePatch(git: HostGit, { work, from, to, place }: Review): Promise<string> {
  const path = `${work.directory}/work.patch`;
  await git.read(place, [...patchArguments(from, to), `--output=${path}`]);
  return path;
}

/** A copy of a file of ours where the user wants it, whole or not at all. */
export async function copyOut(files: Files, from: string, to: string): Promise<void> {
  const temporary = `${to}.${crypto.randomUUID().slice(0, 8)}.tmp`;
  try {
    await using file = await files.open(temporary, { write: true, createNew: true, mode: 0o666 });
    let at = 0;
    for await (const chunk of files.readStream(from)) {
      await file.writeAt(chunk, at);
      at += chunk.length;
    }
    await files.rename(temporary, to);
  } catch (failure) {
    await files.remove(temporary);
    throw failure;
  }
}
