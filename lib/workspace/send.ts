/**
 * A staged repository into the guest: one tar, unpacked by banger's own busybox. It comes as a file on the guest's
 * work disk, where it can get there the fast way; else as the command's stdin.
 */
import { BangerError } from "../base/errors.ts";
import type { Files } from "../base/host.ts";
import { BUSYBOX, guestFailure, runInGuest, type SendArchive, type StartInGuest } from "./guest.ts";
import { repositoryTar, type SentPart } from "./repository_tar.ts";

/** What the repository lies in: the work disk of every guest. */
export const GUEST_HOME = "/root";
/** Where the repository lies in every guest. */
const GUEST_REPOSITORY = "/root/repo";
/** Of a plain directory that was copied: it gets no `.git`, and is compared by one beside it. */
export const COPY_GIT_DIRECTORY = ".banger/copy.git";
/** What the script answers where something else is in the way, and where there is no room beside the archive. */
const OCCUPIED = 41;
const NO_ROOM = 45;

/** Below the guest's home. */
const ARCHIVE = ".banger-repo.tar";
/** What a file takes on the guest's disk besides its bytes, at most. */
const ROOM_PER_FILE_BYTES = 4096;
/** Lists and marks, and the directories that every repository has. */
const FILES_OF_OURS = 16;

/**
 * $1: where to; $2: the archive, empty for stdin; $3: the room that its files take, in bytes. A refresh
 * removes what was sent before, and nothing else: what builds left there and git ignores stays. A mark tells of one
 * that was cut off.
 */
const RECEIVE = `
set -e
umask 022
cd "$1"
[ -z "$2" ] || exec < "$2"
# However this ends, it is gone, and so is one of a sending that was cut off.
rm -f ${ARCHIVE} 2> /dev/null || :
mkdir -p .banger
if [ -e repo ] || [ -L repo ]; then
  if [ -e .banger/repo.sent ]; then
    : > .banger/repo.incomplete
    (cd repo && xargs -0 rm -rf -- < ../.banger/repo.sent)
    rm -rf .banger/copy.git
    find repo -depth -mindepth 1 -type d -exec rmdir {} + 2> /dev/null || :
  else
    rmdir repo 2> /dev/null || exit ${OCCUPIED}
  fi
fi
rm -f .banger/repo.whole
if [ -n "$2" ]; then
  room=$(stat -f -c '%a * %S' .)
  [ $((room)) -ge "$3" ] || exit ${NO_ROOM}
fi
: > .banger/repo.incomplete
# All of it is the user's that this runs as: nobody is looked up.
tar -x -o -p -f -
rm .banger/repo.whole
rm .banger/repo.incomplete
if command -v git > /dev/null; then
  git config --system --get-all safe.directory 2> /dev/null | grep -q -x -F "$1/repo" ||
    git config --system --add safe.directory "$1/repo" || :
fi
`;

/**
 * Sends it. `GUEST_REPOSITORY` is then what the working tree outside is.
 *
 * @param sendArchive absent where the guest has no such way
 * @param now seconds since 1970
 * @param home the guest's directory above `repo`
 * @throws {BangerError} `wrong_state` where a file changes meanwhile; `already_exists` where the guest has
 * something else there; `guest_failed`
 */
export async function sendRepository(
  { files }: { readonly files: Pick<Files, "readStream" | "stat"> },
  { start, sendArchive }: { readonly start: StartInGuest; readonly sendArchive?: SendArchive | undefined },
  parts: readonly SentPart[],
  now: number,
  home: string = GUEST_HOME,
): Promise<void> {
  const tar = () => repositoryTar({ files }, parts, now);
  const unpack = (stdin: AsyncIterable<Uint8Array> | undefined, archive = "", roomBytes = 0) => {
    const argv = [BUSYBOX, "sh", "-c", RECEIVE, "sh", home, archive, `${roomBytes}`];
    return runInGuest(start, argv, stdin ? { stdin } : {});
  };
  const archive = `${home}/${ARCHIVE}`;
  const sentBytes = sendArchive && await sendAsFile(sendArchive, archive, tar);
  let ended = sentBytes === undefined
    ? await unpack(tar())
    : await unpack(undefined, archive, sentBytes + ROOM_PER_FILE_BYTES * fileCount(parts));
  if (ended.code === NO_ROOM) ended = await unpack(tar());
  if (ended.code === 0) return;
  if (ended.code === OCCUPIED) {
    throw new BangerError(
      "already_exists",
      `Cannot send the repository: the VM has something else at ${GUEST_REPOSITORY}`,
      "Move it away: banger vm exec NAME -- mv /root/repo /root/other",
    );
  }
  throw guestFailure("send the repository", ended);
}

/** @returns how much it is; undefined where it must come as stdin, and nothing of it is there */
async function sendAsFile(
  sendArchive: SendArchive,
  path: string,
  tar: () => AsyncIterable<Uint8Array>,
): Promise<number | undefined> {
  let bytes = 0;
  async function* counted(): AsyncGenerator<Uint8Array> {
    for await (const part of tar()) {
      bytes += part.length;
      yield part;
    }
  }
  try {
    return await sendArchive(path, counted) ? bytes : undefined;
  } catch (failure) {
    // Mostly there is no room for it beside what comes out of it.
    if (failure instanceof BangerError && failure.code === "guest_failed") return undefined;
    throw failure;
  }
}

function fileCount(parts: readonly SentPart[]): number {
  const counts = parts.map(({ present, directories, staged: { files, packs } }) =>
    present.length + directories.length + files.size + packs.length + FILES_OF_OURS
  );
  return counts.reduce((sum, count) => sum + count, 0);
}
