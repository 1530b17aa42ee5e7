/** Which commits travel: those within a number of steps of where work begins. */
import type { ByteString } from "../base/tree.ts";
import { type HostGit, splitLines } from "./git.ts";
import type { Repository } from "./repository.ts";

/** Asked for at once: mostly enough, and quickly told. */
const FIRST_COMMITS = 2000;

export interface History {
  readonly commits: ReadonlySet<ByteString>;
  /** Commits whose parents stay behind: the lines of git's `shallow` file. */
  readonly boundary: readonly ByteString[];
}

/**
 * @param tips commits; each counts as the first step, as with `git clone --depth`
 * @param depth at least 1
 */
export async function walkHistory(
  git: HostGit,
  { place }: Pick<Repository, "place">,
  tips: readonly ByteString[],
  depth: number,
): Promise<History> {
  const parents = new Map<ByteString, readonly ByteString[]>();
  const learn = (text: ByteString) => {
    for (const line of splitLines(text)) {
      const [commit, ...of] = line.split(" ") as ByteString[];
      if (commit) parents.set(commit, of);
    }
  };
  const ask = ["rev-list", "--parents", `--max-count=${FIRST_COMMITS}`, "--stdin"];
  if (tips.length > 0) learn(await git.read(place, ask, { stdin: lines(tips) }));
  const commits = new Set<ByteString>();
  let level: readonly ByteString[] = [...new Set(tips)];
  const boundary: ByteString[] = [];
  for (let step = 1; level.length > 0; step++) {
    const unknown = level.filter((commit) => !parents.has(commit));
    if (unknown.length > 0) {
      const exactly = ["rev-list", "--parents", "--no-walk=unsorted", "--stdin"];
      learn(await git.read(place, exactly, { stdin: lines(unknown) }));
    }
    const next = new Set<ByteString>();
    for (const commit of level) {
      commits.add(commit);
      for (const parent of parents.get(commit) ?? []) next.add(parent);
    }
    if (step === depth) boundary.push(...level);
    level = step === depth ? [] : [...next].filter((commit) => !commits.has(commit));
  }
  return {
    commits,
    // A commit of the last step whose parents came on a shorter way is no boundary.
    boundary: boundary.filter((commit) => (parents.get(commit) ?? []).some((of) => !commits.has(of))),
  };
}

export function lines(words: Iterable<string>): Uint8Array {
  return new TextEncoder().encode([...words].map((word) => `${word}\n`).join(""));
}
