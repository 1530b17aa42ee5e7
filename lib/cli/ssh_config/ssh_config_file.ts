import { BangerError } from "../../base/errors.ts";
import type { Files } from "../../base/host.ts";
import { bytesOf, type ByteText, byteText } from "./managed_block.ts";

const MAX_CONFIG_BYTES = 4 * 1024 * 1024;
const OWNER_WRITE = 0o200;
/** ssh refuses a configuration that others can write to. */
const OTHERS_WRITE = 0o022;
const NEW_FILE_MODE = 0o600;
const NEW_DIRECTORY_MODE = 0o700;

type Deps = Pick<Files, "stat" | "readBytes" | "writeAtomic" | "makeDirectory" | "realPath" | "remove">;

/** The user's ssh configuration as it was when it was read. */
export interface SshConfigFile {
  /** As the user knows it. */
  readonly path: string;
  /** Where its content lies: behind symlinks, which stay. */
  readonly target: string;
  readonly text: ByteText;
  /** Undefined where there is no file. */
  readonly mode: number | undefined;
}

/** @throws {BangerError} where it cannot be read, is no file, or is a symlink to nothing */
export async function readSshConfig(files: Deps, path: string): Promise<SshConfigFile> {
  const target = await files.realPath(path);
  if (target === undefined) {
    if (await files.stat(path)) {
      throw new BangerError(
        "not_found",
        `Cannot use ${path}: it is a symlink to what does not exist`,
        "Make the file that it points to, or remove the link",
      );
    }
    return { path, target: path, text: "", mode: undefined };
  }
  const stat = await files.stat(target);
  if (stat?.kind !== "file") {
    throw new BangerError("invalid_argument", `Cannot use ${path}: it is no regular file`);
  }
  return { path, target, text: byteText(await files.readBytes(target, MAX_CONFIG_BYTES)), mode: stat.mode };
}

/** What ssh itself would not like about the file. */
export function permissionProblem({ path, mode }: SshConfigFile): string | undefined {
  if (mode === undefined || (mode & OTHERS_WRITE) === 0) return undefined;
  return `ssh refuses ${path}, since others can write to it; mend it: chmod go-w ${path}`;
}

/**
 * Writes it as a whole, with the mode that it had.
 *
 * @param text empty and the file not behind a symlink: the file goes
 * @throws {BangerError} `permission_denied` for a file that its owner has made read-only; `in_use` where somebody
 * else has written meanwhile
 */
export async function writeSshConfig(files: Deps, before: SshConfigFile, text: ByteText): Promise<void> {
  const { path, target, mode } = before;
  if (mode !== undefined && (mode & OWNER_WRITE) === 0) {
    throw new BangerError(
      "permission_denied",
      `Cannot change ${path}: it is read-only`,
      `Allow it: chmod u+w ${path}`,
    );
  }
  const now = await readSshConfig(files, path);
  if (now.text !== before.text || now.target !== target || now.mode !== mode) {
    throw new BangerError(
      "in_use",
      `Cannot change ${path}: somebody else has changed it meanwhile`,
      "Try again",
    );
  }
  if (text === "" && target === path) return await files.remove(target);
  const directory = target.slice(0, target.lastIndexOf("/"));
  await files.makeDirectory(directory, NEW_DIRECTORY_MODE);
  await files.writeAtomic(target, bytesOf(text), mode ?? NEW_FILE_MODE);
}
