/** What runs in the guest for a copy: banger's own busybox, so that nothing of the image is needed. */
import { BangerError } from "../base/errors.ts";
import { quote } from "../base/names.ts";
import { BUSYBOX, type GuestRun, runInGuest, type StartInGuest } from "../workspace/guest.ts";
import type { SplitPath } from "./places.ts";

export type SourceKind = "directory" | "other";

/** Of the scripts below; each has its words. */
const NO_SUCH_SOURCE = 40;
const NO_SUCH_DIRECTORY = 41;
const FILE_IN_THE_WAY = 42;
const DIRECTORY_IN_THE_WAY = 43;
const NOT_WRITABLE = 44;

const LOOK = `
b=${BUSYBOX}
if [ -d "$1" ] && { [ "$2" = contents ] || [ ! -L "$1" ]; }; then echo directory
elif [ "$2" != contents ] && { [ -e "$1" ] || [ -L "$1" ]; }; then echo other
else exit ${NO_SUCH_SOURCE}; fi
`;

/**
 * $1 where to, $2 the archive's one name at the top, $3 tree, contents or stream, $4 the source's kind, $5 an option
 * of tar, $6 a word that nobody else has: the name of what is staged must be known before it is made, or a signal in
 * between leaves it. What is new comes into place by a rename, once its last byte is there; a directory that is there
 * already is filled. Whoever cuts this off ends it by a signal, and what was staged goes.
 */
const RECEIVE = `
b=${BUSYBOX}
set -e
umask 022
target=$1
if [ "$3" = stream ]; then
  [ -d "$1" ] || exit ${NO_SUCH_DIRECTORY}
  exec $b tar -x $5 -f - -C "$1"
fi
if [ "$3" = tree ] && [ -d "$1" ]; then target=\${1%/}/$2; fi
if [ -d "$target" ]; then
  [ "$4" = directory ] || exit ${DIRECTORY_IN_THE_WAY}
  strip=0
  [ "$3" = contents ] || strip=1
  exec $b tar -x $5 -f - -C "$target" --strip-components $strip
fi
if [ "$4" = directory ]; then
  [ ! -e "$target" ] && [ ! -L "$target" ] || exit ${FILE_IN_THE_WAY}
else
  case $target in */) exit ${NO_SUCH_DIRECTORY} ;; esac
fi
parent=$($b dirname "$target")
[ -d "$parent" ] || exit ${NO_SUCH_DIRECTORY}
stage=$parent/.banger-cp.$6
trap '$b rm -rf "$stage"' EXIT
trap 'exit 143' HUP INT TERM
$b mkdir -m 700 "$stage" || exit ${NOT_WRITABLE}
$b mkdir "$stage/tree"
$b tar -x $5 -f - -C "$stage/tree"
if [ "$3" = contents ]; then
  $b mv "$stage/tree" "\${target%/}"
else
  $b mv -f "$stage/tree/$2" "\${target%/}"
fi
`;

/** Attributes of a single file. */
export interface FileAttributes {
  /** 0 to 0o7777 */
  readonly mode: number;
  readonly mtimeSeconds: number;
}

/** A regular file in the guest, opened. */
export interface OpenFile extends FileAttributes, Disposable {
  readonly sizeBytes: number;
  /** All of it, once. Each chunk is valid until the next. */
  read(): AsyncIterable<Uint8Array>;
}

/** The guest's own way for single files: no command runs there, and no archive is made. */
export interface GuestFiles {
  /** @returns false, and nothing has happened, where it must go as an archive */
  send(
    file: FileAttributes & { readonly path: string; readonly name: string; readonly sizeBytes: number },
    content: () => AsyncIterable<Uint8Array>,
  ): Promise<boolean>;
  /** @returns undefined where it must come as an archive: it is no regular file, or cannot be opened */
  open(path: string): Promise<OpenFile | undefined>;
}

/** A guest to copy from or to. */
export interface GuestPlace {
  readonly vm: string;
  readonly path: string;
  readonly start: StartInGuest;
  readonly files?: GuestFiles;
}

/** @throws {BangerError} `not_found` */
export async function lookAtSource(
  { vm, path, start }: GuestPlace,
  { isContents }: SplitPath,
): Promise<SourceKind> {
  let said = "";
  const argv = [BUSYBOX, "sh", "-c", LOOK, "sh", path, isContents ? "contents" : "itself"];
  const { code, stderr } = await runInGuest(start, argv, {
    stdout: (bytes) => Promise.resolve(void (said += new TextDecoder().decode(bytes.subarray(0, 32)))),
  });
  if (code === NO_SUCH_SOURCE) {
    const what = isContents ? "there is no such directory" : "there is no such file";
    throw new BangerError(
      "not_found",
      `Cannot copy ${shown(vm, path)}: ${what}`,
      `See what is there: banger vm exec ${vm} -- ls -la`,
    );
  }
  if (code !== 0) throw guestSaid(`look at ${shown(vm, path)}`, code, stderr);
  return said.trim() === "directory" ? "directory" : "other";
}

/** Writes the source as a tar. @throws {BangerError} `guest_failed` where not all of it could be read */
export async function sendFromGuest(
  { vm, path, start }: GuestPlace,
  { parent, name, isContents }: SplitPath,
  stdout: NonNullable<GuestRun["stdout"]>,
): Promise<void> {
  const argv = [BUSYBOX, "tar", "-c", "-f", "-", "-C", isContents ? path : parent, "--", name];
  const { code, stderr } = await runInGuest(start, argv, { stdout });
  if (code !== 0) throw guestSaid(`read all of ${shown(vm, path)}`, code, stderr);
}

/** @throws {BangerError} what stands in the way in the guest */
export async function receiveInGuest(
  { vm, path, start }: GuestPlace,
  source: { name: string; how: "tree" | "contents" | "stream"; kind: SourceKind; keepsOwners: boolean },
  stdin: AsyncIterable<Uint8Array>,
): Promise<void> {
  const option = source.keepsOwners ? "--numeric-owner" : "-o";
  const word = crypto.randomUUID().slice(0, 8);
  const argv = [BUSYBOX, "sh", "-c", RECEIVE, "sh", path, source.name, source.how, source.kind, option, word];
  const { code, stderr } = await runInGuest(start, argv, { stdin });
  if (code === 0) return;
  const to = shown(vm, path);
  const refusals: Record<number, BangerError> = {
    [NO_SUCH_DIRECTORY]: new BangerError(
      "not_found",
      `Cannot copy to ${to}: there is no such directory`,
      `Make it first: banger vm exec ${vm} -- mkdir -p DIRECTORY`,
    ),
    [FILE_IN_THE_WAY]: new BangerError(
      "already_exists",
      `Cannot copy to ${to}: a file is there, and a directory comes`,
    ),
    [DIRECTORY_IN_THE_WAY]: new BangerError(
      "already_exists",
      `Cannot copy to ${to}: a directory of that name is there, and a file comes`,
    ),
    [NOT_WRITABLE]: new BangerError(
      "permission_denied",
      `Cannot copy to ${to}: the directory cannot be written to`,
      "Copy as another user: --user root",
    ),
  };
  throw refusals[code] ?? guestSaid(`write all of ${to}`, code, stderr);
}

function shown(vm: string, path: string): string {
  return quote(`${vm}:${path}`);
}

function guestSaid(action: string, code: number, stderr: string): BangerError {
  const [first = ""] = stderr.trim().split("\n");
  const words = first === "" ? `it ended with code ${code}` : `the guest says ${quote(first)}`;
  return new BangerError("guest_failed", `Cannot ${action}: ${words}`);
}
