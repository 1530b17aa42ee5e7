/** What would be sent: of a repository as it is, of one of its commits, or of a plain directory. */
import { BangerError } from "../base/errors.ts";
import type { Files } from "../base/host.ts";
import { quote } from "../base/names.ts";
import { bytesOf, type ByteString } from "../base/tree.ts";
import type { TreeReader } from "../base/tree_reader.ts";
import type { HostGit, OwnPlace } from "./git.ts";
import { findRepository, GitConfig, type Repository } from "./repository.ts";
import { findSubmodules, type Submodules } from "./submodules.ts";
import { refuseSubmodules, type Survey, type SurveyOptions, surveyWorkTree } from "./survey.ts";

export interface PlanRequest extends SurveyOptions {
  /** Absolute. */
  readonly path: string;
  readonly full?: boolean;
  /** A branch that only the guest has. */
  readonly branch?: string;
  /** Where it begins: that commit's files go along, and none of the working tree. */
  readonly from?: string;
  /** A directory that is in no repository goes as it is. */
  readonly copy?: boolean;
}

/** What would be sent. Its owner disposes of it. */
export interface Plan extends AsyncDisposable {
  readonly request: PlanRequest;
  readonly repository: Repository;
  readonly survey: Survey;
  /** Of the files that go along. */
  readonly tree: TreeReader;
  /** Where they are, if not in the repository's own working tree. */
  readonly workTree?: string;
  readonly submodules: Submodules;
  /** A plain directory: the guest's has no `.git` either. */
  readonly isCopy: boolean;
}

export interface PlanDeps {
  readonly git: HostGit;
  readonly files: Files;
  readonly openTree: (root: string) => TreeReader;
  /** For what is not yet a VM's. */
  readonly stagingDirectory: string;
}

/**
 * @returns undefined outside a repository, unless a copy is asked for
 * @throws {BangerError} what makes it impossible to send it
 */
export async function makePlan(deps: PlanDeps, request: PlanRequest): Promise<Plan | undefined> {
  if (request.from !== undefined && request.branch === undefined) {
    throw new BangerError(
      "invalid_argument",
      "Cannot use --from without --branch: the commit needs a branch of its own in the VM",
      "Add --branch NAME",
    );
  }
  const repository = await findRepository(deps, request.path);
  if (repository && request.from !== undefined) {
    return await planCommit(deps, request, repository, request.from);
  }
  if (repository) return await planTree(deps, request, repository);
  if (!request.copy) return undefined;
  return await planTree(deps, request, await plainDirectory(deps, request.path), true);
}

async function planTree(
  { git, openTree }: PlanDeps,
  request: PlanRequest,
  repository: Repository,
  isCopy = false,
): Promise<Plan> {
  using open = new DisposableStack();
  const opening = (root: string) => open.use(openTree(root));
  const tree = opening(repository.top);
  const survey = await surveyWorkTree(git, repository.place, tree, { ...request, includeIgnored: isCopy });
  refuseSubmodules(survey, request.full === true);
  const submodules = await findSubmodules(git, opening, { repository, survey, tree }, request);
  const owned = open.move();
  return {
    request,
    repository,
    survey,
    tree,
    submodules,
    isCopy,
    [Symbol.asyncDispose]: () => Promise.resolve(owned.dispose()),
  };
}

/** The files of one commit, checked out into a directory of ours: no filter and no hook has a say in them. */
async function planCommit(
  deps: PlanDeps,
  request: PlanRequest,
  repository: Repository,
  from: string,
): Promise<Plan> {
  const { git, files } = deps;
  const asked = ["rev-parse", "--quiet", "--verify", "--end-of-options", `${from}^{commit}`];
  const { code, stdout } = await git.run(repository.place, asked);
  const head = stdout.trim() as ByteString;
  if (code !== 0) {
    throw new BangerError(
      "not_found",
      `Cannot begin at ${quote(from)}: the repository has no such commit`,
      "Name a branch, a tag or a commit",
    );
  }
  const directory = `${deps.stagingDirectory}/.staging-${crypto.randomUUID().slice(0, 8)}`;
  const workTree = `${directory}/work`;
  await using cleanup = new AsyncDisposableStack();
  cleanup.defer(() => files.remove(directory));
  await files.makeDirectory(workTree, 0o700);
  const gitDirectory = await emptyRepository(deps, repository.objectFormat);
  const objects = `${repository.commonDirectory}/objects`.replaceAll(/["\\]/g, "\\$&");
  const environment = {
    GIT_INDEX_FILE: `${directory}/index`,
    GIT_ALTERNATE_OBJECT_DIRECTORIES: `"${objects}"`,
  };
  const place: OwnPlace = { kind: "own", gitDirectory, workTree, environment };
  await git.read(place, ["read-tree", head]);
  await git.read(place, ["checkout-index", "--all", "--index", "--quiet"]);
  const tree = cleanup.use(deps.openTree(workTree));
  const survey = await surveyWorkTree(git, place, tree, { ignoreUntracked: true });
  refuseSubmodules(survey, false);
  const owned = cleanup.move();
  return {
    request,
    repository: { ...repository, head },
    survey,
    tree,
    workTree,
    submodules: { found: [], directories: [] },
    isCopy: false,
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/** A directory without a repository, as one before its first commit. */
export async function plainDirectory(
  deps: Pick<PlanDeps, "files" | "stagingDirectory">,
  top: string,
): Promise<Repository> {
  const gitDirectory = await emptyRepository(deps, "sha1");
  return {
    place: { kind: "own", gitDirectory, workTree: top },
    top,
    gitDirectory,
    commonDirectory: gitDirectory,
    isShallow: false,
    objectFormat: "sha1",
    head: undefined,
    headRef: "refs/heads/main" as ByteString,
    config: new GitConfig("" as ByteString),
  };
}

/** A repository without anything in it, for commands that want one. @returns where it is */
async function emptyRepository(
  { files, stagingDirectory }: Pick<PlanDeps, "files" | "stagingDirectory">,
  objectFormat: "sha1" | "sha256",
): Promise<string> {
  const directory = `${stagingDirectory}/empty-${objectFormat}.git`;
  if (await files.stat(`${directory}/HEAD`)) return directory;
  await files.makeDirectory(`${directory}/objects`, 0o700);
  await files.makeDirectory(`${directory}/refs`, 0o700);
  const format = objectFormat === "sha1" ? "" : "[extensions]\n\tobjectFormat = sha256\n";
  await files.writeAtomic(`${directory}/config`, `[core]\n\trepositoryFormatVersion = 1\n${format}`);
  await files.writeAtomic(`${directory}/HEAD`, bytesOf("ref: refs/heads/main\n" as ByteString));
  return directory;
}
