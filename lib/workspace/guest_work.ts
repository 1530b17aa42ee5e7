/**
 * The work in a guest, as objects in a directory that is thrown away afterwards. The guest's git says what
 * its files are now and packs what is new; the host's git takes the pack as from any hostile server, checks
 * every object, and compares on its own. It never runs inside what the guest wrote.
 */
import { BangerError } from "../base/errors.ts";
import type { Files } from "../base/host.ts";
import type { ByteString } from "../base/tree.ts";
import { treeOfTar } from "./data_work.ts";
import { type GitInput, type GitResult, gitWords, type HostGit, type OwnPlace } from "./git.ts";
import { BUSYBOX, guestFailure, runInGuest, type StartInGuest } from "./guest.ts";
import { COPY_GIT_DIRECTORY, GUEST_HOME } from "./send.ts";
import { isOid, type WorkspaceRecord } from "./record.ts";

const MAX_HEADER_BYTES = 1024 * 1024;
const MIN_FREE_BYTES = 256 * 1024 * 1024;
/** The free space is looked at once in so many bytes. */
const LOOK_BYTES = 64 * 1024 * 1024;
/** The script's own answers. */
const NO_REPOSITORY = 42;
const CUT_OFF = 43;
const NO_GIT = 44;

/**
 * $1: where repo lies, $2: the commit that was sent, or nothing, then the submodules. Prints the tree of all files that git does
 * not ignore, HEAD, its branch, the same of
 * the submodules, an empty line, and a pack of what the host does not have. The guest's own
 * index stays as it is.
 */
const COLLECT = `
cd "$1" || exit ${NO_REPOSITORY}
[ ! -e .banger/repo.incomplete ] || exit ${CUT_OFF}
cd repo 2> /dev/null || exit ${NO_REPOSITORY}
force=
if [ ! -e .git ]; then
  [ -e "$1/${COPY_GIT_DIRECTORY}" ] || exit ${NO_REPOSITORY}
  # A plain directory: nothing in it is ignored.
  force=-f
  export GIT_DIR="$1/${COPY_GIT_DIRECTORY}" GIT_WORK_TREE="$1/repo"
fi
if ! command -v git > /dev/null; then
  # The host's git does all of it, from the files as they are.
  [ $# -eq 2 ] || exit ${NO_GIT}
  printf 'tree -\\nhead %s\\nbranch \\n\\n' "$2"
  set --
  for name in * .*; do
    case $name in . | .. | .git) continue ;; esac
    [ ! -e "$name" ] && [ ! -L "$name" ] || set -- "$@" "./$name"
  done
  [ $# -eq 0 ] || exec tar -c -f - "$@"
  exit 0
fi
set -e
export GIT_CONFIG_COUNT=3 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0='*'
export GIT_CONFIG_KEY_1=advice.addEmbeddedRepo GIT_CONFIG_VALUE_1=false
export GIT_CONFIG_KEY_2=core.sparseCheckout GIT_CONFIG_VALUE_2=false
# snapshot: the files of the repository here as $tree, its HEAD as $head.
snapshot() {
  directory=$(git rev-parse --absolute-git-dir) || return
  index=$directory/banger-index.$$
  [ ! -e "$directory/index" ] || cp -p "$directory/index" "$index" || return
  GIT_INDEX_FILE=$index git add -A $force 1>&2 && tree=$(GIT_INDEX_FILE=$index git write-tree --missing-ok)
  code=$?
  rm -f "$index" "$index.lock"
  head=$(git rev-parse --quiet --verify 'HEAD^{commit}' || :)
  return $code
}
snapshot
branch=$(git symbolic-ref --quiet HEAD || :)
printf 'tree %s\\nhead %s\\nbranch %s\\n' "$tree" "$head" "$branch"
known=$2
wanted="$tree $head"
shift 2
for path; do
  (cd "$path" && [ -e .git ] && snapshot && printf 'submodule %s %s\\n' "$tree" "$head") || echo 'submodule'
done
echo
{
  printf '%s\\n' $wanted
  [ -z "$known" ] || ! git cat-file -e "$known" 2> /dev/null || printf '^%s\\n' "$known"
} | git pack-objects -q --revs --stdout --thin --delta-base-offset --window=0 --missing=allow-any
`;

/** What a guest's repository holds now. Disposing of it forgets the objects. */
export interface GuestWork extends AsyncDisposable {
  readonly record: WorkspaceRecord;
  /** Of all files that are not ignored. */
  readonly tree: ByteString;
  readonly head: ByteString | undefined;
  /** `refs/heads/…`, as the guest says: quote it. */
  readonly branch: string | undefined;
  /** In the record's order; a tree of undefined is no repository any more. */
  readonly submodules: readonly { readonly tree: string | undefined; readonly head: string | undefined }[];
  /** Runs git where base and work both are. */
  run(args: readonly string[], input?: GitInput): Promise<GitResult>;
  /** As `run`, where another code than 0 is a failure. @returns stdout */
  read(args: readonly string[], input?: GitInput): Promise<ByteString>;
  /** Where both are. */
  readonly place: OwnPlace & { readonly environment: Readonly<Record<string, string>> };
  /** For files of ours beside the objects; gone with it. */
  readonly directory: string;
}

type Deps = {
  readonly git: HostGit;
  readonly files: Pick<Files, "makeDirectory" | "open" | "readStream" | "remove" | "freeBytes">;
};

/**
 * @param directory what is kept for this VM: `repo.git` lies in it
 * @param home the guest's directory above `repo`
 * @throws {BangerError} `not_found` where the guest has no such repository; `missing_tool` without git there;
 * `corrupt_data` for objects that git refuses
 */
export async function collectWork(
  deps: Deps,
  start: StartInGuest,
  record: WorkspaceRecord,
  directory: string,
  home: string = GUEST_HOME,
): Promise<GuestWork> {
  const quarantine = `${directory}/.quarantine-${crypto.randomUUID().slice(0, 8)}`;
  const gitDirectory = `${directory}/repo.git`;
  await deps.files.makeDirectory(`${quarantine}/objects`, 0o700);
  const environment = {
    GIT_OBJECT_DIRECTORY: `${quarantine}/objects`,
    GIT_ALTERNATE_OBJECT_DIRECTORIES: `${gitDirectory}/objects`,
  };
  const place = { kind: "own", gitDirectory, environment } as const;
  const run = (args: readonly string[], input?: GitInput) => deps.git.run(place, args, input);
  const read = (args: readonly string[], input?: GitInput) => deps.git.read(place, args, input);
  try {
    const pack = `${quarantine}/incoming.pack`;
    const submodules = (record.submodules ?? []).map(({ path }) => path);
    const told = await receive(deps.files, start, [home, record.head ?? "", ...submodules], pack);
    const tree = told.tree ??
      await treeOfTar(deps, place, pack, quarantine, record.base, record.isCopy === true);
    if (told.tree !== undefined) {
      const checked = await run(["index-pack", "--stdin", "--fix-thin", "--fsck-objects"], {
        stdin: deps.files.readStream(pack),
      });
      if (checked.code !== 0) throw refusedObjects(checked);
    }
    await deps.files.remove(pack);
    return {
      record,
      ...told,
      tree,
      run,
      read,
      place,
      directory: quarantine,
      [Symbol.asyncDispose]: () => deps.files.remove(quarantine),
    };
  } catch (failure) {
    await deps.files.remove(quarantine);
    throw failure;
  }
}

function refusedObjects({ stderr, code }: GitResult): BangerError {
  return new BangerError(
    "corrupt_data",
    `Cannot take the guest's work: git refuses its objects (${gitWords(stderr, code)})`,
    "Copy single files out of the VM instead",
  );
}

/** The script's header is returned, the pack behind it written to `path`. */
async function receive(files: Deps["files"], start: StartInGuest, args: readonly string[], path: string) {
  await using file = await files.open(path, { write: true, createNew: true, mode: 0o600 });
  let header = "";
  let isHeader = true;
  let written = 0;
  const take = async (bytes: Uint8Array) => {
    let rest = bytes;
    if (isHeader) {
      const text = header + String.fromCharCode(...bytes.subarray(0, MAX_HEADER_BYTES));
      const end = text.indexOf("\n\n");
      if (end < 0 && text.length > MAX_HEADER_BYTES) throw notUnderstood();
      if (end < 0) {
        header = text;
        return;
      }
      rest = bytes.subarray(end + 2 - header.length);
      header = text.slice(0, end);
      isHeader = false;
    }
    await file.writeAt(rest, written);
    const before = written;
    written += rest.length;
    if (Math.floor(before / LOOK_BYTES) === Math.floor(written / LOOK_BYTES)) return;
    if (await files.freeBytes(path.slice(0, path.lastIndexOf("/"))) < MIN_FREE_BYTES) throw noSpace();
  };
  const ended = await runInGuest(start, [BUSYBOX, "sh", "-c", COLLECT, "sh", ...args], { stdout: take });
  if (ended.code !== 0) throw explain(ended);
  return parseHeader(isHeader ? undefined : header);
}

function parseHeader(header: string | undefined) {
  const match = /^tree ([0-9a-f]+|-)\nhead ([0-9a-f]*)\nbranch (.*)((?:\nsubmodule.*)*)$/.exec(header ?? "");
  if (!match || match[1] !== "-" && !isOid(match[1]) || match[2] !== "" && !isOid(match[2])) {
    throw notUnderstood();
  }
  return {
    /** Without git there the files themselves follow. */
    tree: match[1] === "-" ? undefined : match[1] as ByteString,
    head: match[2] === "" ? undefined : match[2] as ByteString,
    branch: match[3] === "" ? undefined : match[3],
    submodules: match[4]!.split("\n").slice(1).map((line) => {
      const [, tree, head] = /^submodule ([0-9a-f]+) ([0-9a-f]*)$/.exec(line) ?? [];
      return { tree, head: head || undefined };
    }),
  };
}

function notUnderstood(): BangerError {
  return new BangerError("corrupt_data", "Cannot take the guest's work: its answer is not understood");
}

function noSpace(): BangerError {
  return new BangerError(
    "no_space",
    "Cannot take the guest's work: the host's disk is nearly full",
    "Free some space, or ignore what is large and need not come back: .gitignore in the VM",
  );
}

function explain(ended: { code: number; stderr: string }): BangerError {
  if (ended.code === NO_REPOSITORY) {
    return new BangerError(
      "not_found",
      "Cannot find the repository in the VM: /root/repo is gone, or has no .git any more",
      "Send it again: banger vm workspace prepare NAME",
    );
  }
  if (ended.code === CUT_OFF) {
    return new BangerError(
      "wrong_state",
      "Cannot compare the repository in the VM: sending it was cut off",
      "Send it again: banger vm workspace prepare NAME",
    );
  }
  if (ended.code === NO_GIT) {
    return new BangerError(
      "missing_tool",
      "Cannot compare the repository in the VM: it has submodules, and its image has no git",
      "Install git in the VM (apk add git, apt-get install git), or copy files out: banger vm cp NAME:/root/repo .",
    );
  }
  return guestFailure("take the guest's work", ended);
}
