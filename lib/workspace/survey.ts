/** What of a working tree travels: looked at before anything is sent, so that refusals come first. */
import { BangerError } from "../base/errors.ts";
import type { ByteString } from "../base/tree.ts";
import { quoteBytes } from "../base/tree_paths.ts";
import type { TreeReader, TreeStat } from "../base/tree_reader.ts";
import type { GitPlace, HostGit } from "./git.ts";
import { splitNul } from "./git.ts";
import { GITLINK_MODE, type IndexEntry, parseIndex } from "./index_file.ts";
import { looksSecret } from "./secrets.ts";

export interface Survey {
  /** All of the index. */
  readonly index: readonly IndexEntry[];
  /** What is there of files and symlinks, tracked or not, in byte order. */
  readonly present: readonly PresentFile[];
  /** Tracked, and not there: gone, or something else in its place. */
  readonly absent: readonly ByteString[];
  /** Untracked, but left out because of their names. */
  readonly secrets: readonly ByteString[];
  /** Untracked directories that are repositories of their own; git does not look into them either. */
  readonly nested: readonly ByteString[];
  /** Directories that hold a commit of another repository. */
  readonly submodules: readonly ByteString[];
}

export interface PresentFile {
  readonly path: ByteString;
  readonly stat: TreeStat;
  readonly isTracked: boolean;
}

export interface SurveyOptions {
  readonly ignoreUntracked?: boolean;
  readonly includeSecrets?: boolean;
  /** What .gitignore says does not count: of a plain directory. */
  readonly includeIgnored?: boolean;
}

/** @param tree the working tree of `place` */
export async function surveyWorkTree(
  git: HostGit,
  place: GitPlace,
  tree: TreeReader,
  options: SurveyOptions = {},
): Promise<Survey> {
  const excluded = options.includeIgnored ? [] : ["--exclude-standard"];
  const untracked = ["ls-files", "--others", ...excluded, "-z"];
  const [stages, others] = await Promise.all([
    git.read(place, ["ls-files", "--stage", "--debug", "-z"]),
    options.ignoreUntracked ? "" as ByteString : git.read(place, untracked),
  ]);
  const index = parseIndex(stages);
  const present: PresentFile[] = [];
  const absent: ByteString[] = [];
  const submodules: ByteString[] = [];
  let last: ByteString | undefined;
  for (const { path, mode, isSkipped } of index) {
    // A merge that has not ended has up to three entries of a name. What sparse checkouts leave out stays out.
    if (path === last || isSkipped) continue;
    last = path;
    if (mode === GITLINK_MODE) {
      submodules.push(path);
      continue;
    }
    const stat = tree.find(path);
    if (stat?.kind === "file" || stat?.kind === "symlink") present.push({ path, stat, isTracked: true });
    else absent.push(path);
  }
  const secrets: ByteString[] = [];
  const nested: ByteString[] = [];
  for (const path of splitNul(others)) {
    if (path.endsWith("/")) {
      nested.push(path);
      continue;
    }
    const stat = tree.find(path);
    // Gone since, or a pipe or socket, which git does not track.
    if (stat?.kind !== "file" && stat?.kind !== "symlink") continue;
    if (!options.includeSecrets && looksSecret(path)) secrets.push(path);
    else present.push({ path, stat, isTracked: false });
  }
  present.sort((a, b) => a.path < b.path ? -1 : a.path > b.path ? 1 : 0);
  return { index, present, absent, secrets, nested, submodules };
}

/** @throws {BangerError} `wrong_state` where there are submodules and the whole history was not asked for */
export function refuseSubmodules({ submodules }: Survey, full: boolean): void {
  if (submodules.length === 0 || full) return;
  throw new BangerError(
    "wrong_state",
    `Cannot send a part of the history: ${quoteBytes(submodules[0]!)}${
      submodules.length > 1 ? ` and ${submodules.length - 1} more` : ""
    } is a submodule, whose commit may be any`,
    "Send all of it: add --full",
  );
}
