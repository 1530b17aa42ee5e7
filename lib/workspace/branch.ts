/** A guest's commits as a branch of the user's repository. */
import { BangerError } from "../base/errors.ts";
import { quote } from "../base/names.ts";
import type { ByteString } from "../base/tree.ts";
import { gitFailure, gitWords, type HostGit } from "./git.ts";
import type { GuestWork } from "./guest_work.ts";
import type { Repository } from "./repository.ts";
import { checkBranch } from "./stage.ts";

/** Names the commits in the bundle; in the user's repository it is never made. */
const RETURNED_REF = "refs/banger/returned";

/** @returns how many commits the guest made since */
export async function countCommits(work: GuestWork): Promise<number> {
  if (work.head === undefined || work.head === work.record.head) return 0;
  const since = work.record.head === undefined ? [] : [`^${work.record.head}`];
  return Number((await work.read(["rev-list", "--count", work.head, ...since])).trim());
}

/**
 * Puts the commits into the user's repository, and a new branch on the last one. They come as a bundle of
 * the quarantine: no configuration and no hook of either side has a say.
 *
 * @throws {BangerError} `already_exists` for a branch that is there; `not_found` where there are no commits;
 * `wrong_state` where the user's repository no longer has what they build on
 */
export async function landBranch(
  git: HostGit,
  repository: Repository,
  work: GuestWork,
  branch: string,
): Promise<number> {
  await checkBranch(git, repository, branch);
  const count = await countCommits(work);
  if (work.head === undefined || count === 0) {
    throw new BangerError(
      "not_found",
      `Cannot make branch ${quote(branch)}: no commit was made in the VM`,
      "Take the changes as they are: --apply, or --output FILE",
    );
  }
  const bundle = await makeBundle(work, `${work.directory}/work.bundle`);
  const { place } = repository;
  const taken = await git.run(place, ["bundle", "unbundle", bundle]);
  if (taken.code !== 0) {
    throw new BangerError(
      "wrong_state",
      `Cannot make branch ${quote(branch)}: ${gitWords(taken.stderr, taken.code)}`,
      `The commit that they build on must still be in a branch: git branch before-vm ${work.record.head}`,
    );
  }
  await git.read(place, ["rev-list", "--objects", "--quiet", work.head, "--not", "--all"]);
  const made = await git.run(place, ["update-ref", `refs/heads/${branch}`, work.head, ""]);
  if (made.code !== 0) throw gitFailure(["update-ref"], made.stderr, made.code);
  return count;
}

/** Writes the guest's commits into a file that any git can fetch from. @returns the path */
export async function makeBundle(work: GuestWork, path: string): Promise<string> {
  const since = work.record.head === undefined ? [] : [`^${work.record.head}`];
  await work.read(["update-ref", RETURNED_REF, work.head as ByteString]);
  try {
    await work.read(["bundle", "create", "-q", path, RETURNED_REF, ...since]);
  } finally {
    // Its object goes with the quarantine.
    await work.read(["update-ref", "-d", RETURNED_REF]);
  }
  return path;
}
