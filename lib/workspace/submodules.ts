/** Repositories inside a repository: each goes with the whole of its history, as a repository of its own. */
import { type ByteString, byteStringOfText, displayText } from "../base/tree.ts";
import type { TreeReader } from "../base/tree_reader.ts";
import type { HostGit } from "./git.ts";
import { openRepository, type Repository } from "./repository.ts";
import { type Survey, type SurveyOptions, surveyWorkTree } from "./survey.ts";

export interface Submodule {
  /** Below the outermost repository, with a slash at its end. */
  readonly prefix: ByteString;
  readonly repository: Repository;
  readonly survey: Survey;
  readonly tree: TreeReader;
  /** Directories of submodules in it that have no content. */
  readonly directories: readonly ByteString[];
}

export interface Submodules {
  readonly found: readonly Submodule[];
  /** Of the repository itself. */
  readonly directories: readonly ByteString[];
}

/** @param openTree of a directory on the host; the caller disposes of the trees that come back */
export async function findSubmodules(
  git: HostGit,
  openTree: (root: string) => TreeReader,
  outer: { readonly repository: Repository; readonly survey: Survey; readonly tree: TreeReader },
  options: SurveyOptions,
  prefix = "" as ByteString,
): Promise<Submodules> {
  const found: Submodule[] = [];
  const directories: ByteString[] = [];
  for (const path of outer.survey.submodules) {
    if (outer.tree.find(path)?.kind !== "directory") continue;
    const repository = await openSubmodule(git, outer, path);
    if (!repository) {
      directories.push(path);
      continue;
    }
    const tree = openTree(repository.top);
    const survey = await surveyWorkTree(git, repository.place, tree, options);
    const own = `${prefix}${path}/` as ByteString;
    const inner = await findSubmodules(git, openTree, { repository, survey, tree }, options, own);
    found.push({ prefix: own, repository, survey, tree, directories: inner.directories }, ...inner.found);
  }
  return { found, directories };
}

/**
 * @returns undefined where it has no content, or says that its repository lies outside this one: a file
 * `.git` can name any directory, and its commits would go along
 */
async function openSubmodule(
  git: HostGit,
  { repository, tree }: { readonly repository: Repository; readonly tree: TreeReader },
  path: ByteString,
): Promise<Repository | undefined> {
  const kind = tree.find(`${path}/.git` as ByteString)?.kind;
  const text = displayText(path);
  if (kind !== "file" && kind !== "directory" || byteStringOfText(text) !== path) return undefined;
  const top = `${repository.top === "/" ? "" : repository.top}/${text}`;
  const inner = await openRepository(git, top);
  const isOurs = inner.gitDirectory.startsWith(`${repository.commonDirectory}/`) ||
    inner.gitDirectory === `${top}/.git`;
  return isOurs ? inner : undefined;
}
