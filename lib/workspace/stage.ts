/**
 * The repository as it will be in the guest, put together in a directory of banger's own. It stays as long
 * as the VM has it: with its commits and its base tree, what comes back is compared on the host.
 */
import { BangerError } from "../base/errors.ts";
import type { Files } from "../base/host.ts";
import { quote } from "../base/names.ts";
import { bytesOf, type ByteString, byteString, byteStringOfText } from "../base/tree.ts";
import type { HostGit, OwnPlace } from "./git.ts";
import { splitLines, splitNul } from "./git.ts";
import { guestConfig, isPartialClone, ownConfig } from "./git_files.ts";
import { type History, lines, walkHistory } from "./history.ts";
import { writeIndex } from "./index_file.ts";
import type { Repository } from "./repository.ts";
import type { Survey } from "./survey.ts";

/** As many commits as most work looks back on. */
const DEPTH = 10;
/** Names the tree that was sent, in banger's own copy. */
export const BASE_REF = "refs/banger/base";
const MAX_GIT_FILE_BYTES = 16 * 1024 * 1024;
/** What a merge that has not ended needs, and the commits that these files name. */
const MERGE_FILES = ["MERGE_HEAD", "MERGE_MODE", "MERGE_MSG", "CHERRY_PICK_HEAD", "REVERT_HEAD"] as const;
const MERGE_HEADS: readonly string[] = ["MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD"];
/** What is under way where these are; its own state stays outside. */
const UNDER_WAY = {
  "rebase-merge": "rebase",
  "rebase-apply": "rebase or am",
  "BISECT_LOG": "bisect",
} as const;

export interface StageRequest {
  readonly repository: Repository;
  readonly survey: Survey;
  /** Of the files that go along, if not the repository's own. */
  readonly workTree?: string;
  /** Empty, of banger's own. */
  readonly directory: string;
  readonly full: boolean;
  /** A branch of the guest's only: the short name. */
  readonly branch?: string;
}

/** A `.git` ready to be sent. */
export interface StagedRepository {
  /** Banger's own repository on the host: see `BASE_REF`. */
  readonly gitDirectory: string;
  /** Small files below `.git`, by path. */
  readonly files: ReadonlyMap<ByteString, Uint8Array>;
  /** Files of `gitDirectory` that go along as they are: names below `objects/pack`. */
  readonly packs: readonly string[];
  /** The commit whose tree is what was sent; its parent is `head`. */
  readonly base: ByteString;
  readonly baseTree: ByteString;
  readonly head: ByteString | undefined;
  /** For the user: what stayed outside. */
  readonly notes: readonly string[];
}

type Deps = { readonly git: HostGit; readonly files: Files };
type Refs = ReadonlyMap<ByteString, ByteString>;

export async function stageRepository(deps: Deps, request: StageRequest): Promise<StagedRepository> {
  const { repository, survey, directory } = request;
  const gitDirectory = `${directory}/repo.git`;
  if (request.branch !== undefined) await checkBranch(deps.git, repository, request.branch);
  const isOwnTree = request.workTree === undefined;
  const merge = isOwnTree ? await readMergeFiles(deps, repository) : { files: [], commits: [] };
  const tips = [...new Set([...(repository.head ? [repository.head] : []), ...merge.commits])];
  const history = request.full ? undefined : await walkHistory(deps.git, repository, tips, DEPTH);
  const refs = await chooseRefs(deps.git, repository, history);
  const shallow = await shallowCommits(deps, repository, history);
  await makeOwnRepository(deps, repository, gitDirectory, shallow);
  await packObjects(deps.git, request, gitDirectory, [...tips, ...refs.values()], shallow);
  if (isPartialClone(repository.config)) await promisePacks(deps.files, gitDirectory);
  const index = writeIndex(survey.index, repository.objectFormat);
  const own = { kind: "own", gitDirectory, workTree: request.workTree ?? repository.top } as const;
  const base = await commitWorkTree(
    deps,
    own,
    survey,
    index,
    repository.head,
    `${gitDirectory}/index-of-work-tree`,
  );
  await deps.git.read(own, ["update-ref", BASE_REF, base]);
  const files = new Map([
    ...merge.files,
    ...await smallFiles(deps, request, refs, shallow),
    ["index" as ByteString, index] as const,
  ]);
  // Of guests without git it is told here what they ignore.
  await deps.files.writeAtomic(`${gitDirectory}/info/exclude`, files.get("info/exclude" as ByteString) ?? "");
  const packs = await deps.files.list(`${gitDirectory}/objects/pack`);
  const baseTree = (await deps.git.read(own, ["rev-parse", `${base}^{tree}`])).trim() as ByteString;
  const notes = await notesOf(deps, repository);
  return { gitDirectory, files, packs, base, baseTree, head: repository.head, notes };
}

/** @throws {BangerError} `invalid_argument`, `already_exists` */
export async function checkBranch(git: HostGit, { place }: Repository, branch: string): Promise<void> {
  const { code } = await git.run(place, ["check-ref-format", "--branch", branch]);
  if (code !== 0) {
    throw new BangerError("invalid_argument", `Cannot make branch ${quote(branch)}: git refuses such a name`);
  }
  const there = await git.run(place, ["rev-parse", "--quiet", "--verify", `refs/heads/${branch}`]);
  if (there.code !== 0) return;
  throw new BangerError(
    "already_exists",
    `Cannot make branch ${quote(branch)} in the VM: the repository has one of that name`,
    "Choose another name, or check that branch out and leave --branch away",
  );
}

async function readMergeFiles({ files }: Deps, { gitDirectory }: Repository) {
  const found = new Map<ByteString, Uint8Array>();
  const commits: ByteString[] = [];
  for (const name of MERGE_FILES) {
    const text = await readSmall(files, `${gitDirectory}/${name}`);
    if (text === undefined) continue;
    found.set(name as string as ByteString, bytesOf(text));
    if (MERGE_HEADS.includes(name)) {
      commits.push(...splitLines(text).filter((line) => /^[0-9a-f]{40,64}$/.test(line)));
    }
  }
  return { files: found, commits };
}

/** @returns undefined for what is absent or no regular file */
async function readSmall(files: Files, path: string): Promise<ByteString | undefined> {
  if ((await files.stat(path))?.kind !== "file") return undefined;
  return byteString(await files.readBytes(path, MAX_GIT_FILE_BYTES));
}

/** Beside HEAD's: all of the user's where the whole history goes, else tags and upstream within it. */
async function chooseRefs(
  git: HostGit,
  { place, headRef, config }: Repository,
  history: History | undefined,
): Promise<Refs> {
  const format = "--format=%(objectname) %(*objectname) %(refname)";
  const text = await git.read(place, [
    "for-each-ref",
    format,
    "refs/heads",
    "refs/tags",
    "refs/remotes/origin",
  ]);
  const branch = headRef?.replace(/^refs\/heads\//, "");
  const upstream = branch === undefined || config.find(`branch.${branch}.remote`) !== "origin"
    ? undefined
    : config.find(`branch.${branch}.merge`)?.replace(/^refs\/heads\//, "refs/remotes/origin/");
  const refs = new Map<ByteString, ByteString>();
  for (const line of splitLines(text)) {
    const [oid, peeled, name] = line.split(" ") as ByteString[];
    if (!oid || !name || name === "refs/remotes/origin/HEAD") continue;
    const isKept = history === undefined ||
      (name.startsWith("refs/tags/") || name === upstream) && history.commits.has(peeled || oid);
    if (isKept) refs.set(name, oid);
  }
  return refs;
}

async function shallowCommits(
  { files }: Deps,
  { isShallow, commonDirectory }: Repository,
  history: History | undefined,
): Promise<ByteString[]> {
  const text = isShallow ? await readSmall(files, `${commonDirectory}/shallow`) : undefined;
  const own = splitLines(text ?? "" as ByteString).filter((oid) => !history || history.commits.has(oid));
  return [...new Set([...own, ...(history?.boundary ?? [])])];
}

/** With banger's own configuration, and nothing from templates. */
async function makeOwnRepository(
  { files }: Deps,
  repository: Repository,
  gitDirectory: string,
  shallow: readonly ByteString[],
): Promise<void> {
  for (const name of ["objects/pack", "refs", "info"]) {
    await files.makeDirectory(`${gitDirectory}/${name}`, 0o700);
  }
  const put = (name: string, text: ByteString) => files.writeAtomic(`${gitDirectory}/${name}`, bytesOf(text));
  await put("HEAD", "ref: refs/heads/banger\n" as ByteString);
  await put("config", ownConfig(repository.config, repository.objectFormat));
  const attributes = await readSmall(files, `${repository.commonDirectory}/info/attributes`);
  if (attributes !== undefined) await put("info/attributes", attributes);
  if (shallow.length > 0) await put("shallow", shallow.map((oid) => `${oid}\n`).join("") as ByteString);
}

/** Objects as the user's packs have them, mostly: nothing is searched for a smaller form. */
async function packObjects(
  git: HostGit,
  { repository, survey, workTree }: StageRequest,
  gitDirectory: string,
  tips: readonly ByteString[],
  shallow: readonly ByteString[],
): Promise<void> {
  if (tips.length === 0 && survey.index.length === 0) return;
  const args = [
    "pack-objects",
    "-q",
    "--revs",
    ...(workTree === undefined ? ["--indexed-objects"] : []),
    "--delta-base-offset",
    "--window=0",
    "--compression=1",
    ...(isPartialClone(repository.config) ? ["--missing=allow-any"] : []),
    `${gitDirectory}/objects/pack/pack`,
  ];
  const stdin = lines([...shallow.map((oid) => `--shallow ${oid}`), ...tips]);
  await git.read(repository.place, args, { stdin });
}

/** Objects that they refer to and that are not there are the remote's to give, as in the user's own clone. */
async function promisePacks(files: Files, gitDirectory: string): Promise<void> {
  const directory = `${gitDirectory}/objects/pack`;
  for (const name of await files.list(directory)) {
    if (name.endsWith(".pack")) await files.writeAtomic(`${directory}/${name.slice(0, -5)}.promisor`, "");
  }
}

/**
 * Puts the working tree into a commit of banger's own repository. Files that git has seen as they are keep
 * their object; only others are read.
 *
 * @param indexFile is written for it, and knows the files as they are afterwards
 * @returns the commit
 */
export async function commitWorkTree(
  { git, files }: Deps,
  own: OwnPlace,
  survey: Survey,
  index: Uint8Array,
  parent: ByteString | undefined,
  indexFile: string,
): Promise<ByteString> {
  await files.writeAtomic(indexFile, index);
  const environment = { GIT_INDEX_FILE: indexFile };
  const update = async (how: readonly string[], paths: readonly ByteString[]) => {
    if (paths.length === 0) return;
    const stdin = bytesOf(paths.map((path) => `${path}\0`).join("") as ByteString);
    await git.read(own, ["update-index", "-z", ...how, "--stdin"], { stdin, environment });
  };
  await update(["--force-remove"], survey.absent);
  await update(["--add", "--remove", "--replace"], survey.present.map(({ path }) => path));
  const tree = (await git.read(own, ["write-tree", "--missing-ok"], { environment })).trim();
  const parents = parent === undefined ? [] : ["-p", parent];
  const message = new TextEncoder().encode("What was in the working tree\n");
  return (await git.read(own, ["commit-tree", tree, ...parents], { stdin: message, environment }))
    .trim() as ByteString;
}

async function smallFiles(
  { git, files }: Deps,
  { repository, branch }: StageRequest,
  refs: Refs,
  shallow: readonly ByteString[],
): Promise<Map<ByteString, Uint8Array>> {
  const { head, headRef, config, commonDirectory, gitDirectory } = repository;
  const small = new Map<ByteString, Uint8Array>();
  const put = (name: string, text: ByteString | undefined) => {
    if (text !== undefined && text !== "") small.set(name as ByteString, bytesOf(text));
  };
  const wanted = branch === undefined ? headRef : byteStringOfText(`refs/heads/${branch}`);
  put("HEAD", wanted === undefined ? `${head}\n` as ByteString : `ref: ${wanted}\n` as ByteString);
  const all = new Map(refs);
  for (const ref of [headRef, wanted]) if (ref !== undefined && head !== undefined) all.set(ref, head);
  put("packed-refs", [...all].sort().map(([name, oid]) => `${oid} ${name}\n`).join("") as ByteString);
  put("shallow", shallow.map((oid) => `${oid}\n`).join("") as ByteString);
  const short = wanted?.replace(/^refs\/heads\//, "") as ByteString | undefined;
  put("config", guestConfig(config, repository.objectFormat, short));
  const ofUser = await userFiles(git, repository);
  const join = async (own: string, path: string | undefined) => {
    const parts = [path && await readSmall(files, path), await readSmall(files, own)];
    return parts.filter(Boolean).join("\n") as ByteString;
  };
  put("info/exclude", await join(`${commonDirectory}/info/exclude`, ofUser.excludes));
  put("info/attributes", await join(`${commonDirectory}/info/attributes`, undefined));
  put("info/sparse-checkout", await readSmall(files, `${gitDirectory}/info/sparse-checkout`));
  return small;
}

/**
 * What the user's own configuration names. The repository's is not asked: it could name any file of theirs,
 * and the guest would get it.
 */
async function userFiles(git: HostGit, { place }: Repository): Promise<{ excludes: string | undefined }> {
  const asked = ["config", "--global", "--type=path", "-z", "--get", "core.excludesFile"];
  const { code, stdout } = await git.run(place, asked);
  const excludes = code === 0 ? splitNul(stdout)[0] : undefined;
  return { excludes: excludes?.startsWith("/") ? excludes : undefined };
}

async function notesOf({ files }: Deps, { gitDirectory }: Repository): Promise<string[]> {
  const notes: string[] = [];
  for (const [name, what] of Object.entries(UNDER_WAY)) {
    if (await files.stat(`${gitDirectory}/${name}`)) {
      notes.push(`a ${what} is under way outside: its commits and files go along, its state does not`);
    }
  }
  return notes;
}
