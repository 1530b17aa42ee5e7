/** The user's repository, as far as banger must know it before anything is sent. */
import { BangerError } from "../base/errors.ts";
import type { Files } from "../base/host.ts";
import { quote } from "../base/names.ts";
import type { ByteString } from "../base/tree.ts";
import { displayText } from "../base/tree.ts";
import { gitFailure, type GitPlace, type HostGit, splitLines, splitNul } from "./git.ts";

export interface Repository {
  /** The user's; for a plain directory an empty one of banger's own. */
  readonly place: GitPlace;
  /** Where its working tree begins. */
  readonly top: string;
  readonly gitDirectory: string;
  /** Of all its work trees together. */
  readonly commonDirectory: string;
  readonly isShallow: boolean;
  readonly objectFormat: "sha1" | "sha256";
  /** Undefined before the first commit. */
  readonly head: ByteString | undefined;
  /** `refs/heads/…`; undefined where HEAD is detached. */
  readonly headRef: ByteString | undefined;
  readonly config: GitConfig;
}

/** The effective configuration: by key (sections and variables in lower case), the last value wins. */
export class GitConfig {
  readonly #values = new Map<ByteString, ByteString[]>();

  /** @param text of `git config --list -z` */
  constructor(text: ByteString) {
    for (const entry of splitNul(text)) {
      const end = entry.indexOf("\n");
      const key = (end < 0 ? entry : entry.slice(0, end)) as ByteString;
      // A key without "=" is true. Source: git-config(1), "Values"
      const value = (end < 0 ? "true" : entry.slice(end + 1)) as ByteString;
      this.#values.set(key, [...(this.#values.get(key) ?? []), value]);
    }
  }

  find(key: string): ByteString | undefined {
    return this.#values.get(key as ByteString)?.at(-1);
  }

  *entries(): Generator<readonly [ByteString, ByteString]> {
    for (const [key, values] of this.#values) yield [key, values.at(-1)!];
  }
}

type Deps = { readonly git: HostGit; readonly files: Pick<Files, "stat"> };

/** Where git is not installed there is nothing to refuse: `false`. */
async function isBare(git: HostGit, path: string): Promise<boolean> {
  try {
    const { code, stdout } = await git.run({ kind: "user", top: path }, [
      "rev-parse",
      "--is-bare-repository",
    ]);
    return code === 0 && stdout.trim() === "true";
  } catch (thrown) {
    if (thrown instanceof BangerError && thrown.code === "missing_tool") return false;
    throw thrown;
  }
}

/** @throws {BangerError} `missing_tool` with what to do */
async function withGit<T>(act: () => Promise<T>, top: string): Promise<T> {
  try {
    return await act();
  } catch (thrown) {
    if (!(thrown instanceof BangerError && thrown.code === "missing_tool")) throw thrown;
    const hint = "Install it (sudo apt-get install git), or send nothing: --no-repo";
    throw new BangerError("missing_tool", `Cannot send ${quote(top)}: git is not installed`, hint, {
      cause: thrown,
    });
  }
}

/**
 * The repository whose working tree `path` is in.
 *
 * @param path absolute
 * @returns undefined where there is none
 * @throws {BangerError} `not_found` where `path` is no directory; `wrong_state` for a bare repository;
 * `missing_tool` where there is one and git is not installed
 */
export async function findRepository({ git, files }: Deps, path: string): Promise<Repository | undefined> {
  const stat = await files.stat(`${path}/.`);
  if (stat?.kind !== "directory") throw notADirectory(path, stat !== undefined);
  const top = await findTop(files, path);
  if (top !== undefined) return await withGit(() => openRepository(git, top), top);
  if (!await isBare(git, path)) return undefined;
  throw new BangerError(
    "wrong_state",
    `Cannot send ${quote(path)}: it is a bare repository, without files to work on`,
    "Clone it, and run banger in the clone",
  );
}

function notADirectory(path: string, exists: boolean): BangerError {
  return new BangerError(
    "not_found",
    `Cannot send ${quote(path)}: ${exists ? "it is no directory" : "there is no such directory"}`,
    "Name a directory of the repository; a command stands behind --, such as: banger vm run . -- make test",
  );
}

/** As git looks for it, but for the environment: the nearest directory with a `.git`. */
async function findTop(files: Pick<Files, "stat">, path: string): Promise<string | undefined> {
  for (let at = path.replace(/\/+$/, "");; at = at.slice(0, at.lastIndexOf("/"))) {
    if (await files.stat(`${at}/.git`)) return at === "" ? "/" : at;
    if (at === "") return undefined;
  }
}

/** @param top where `.git` lies */
export async function openRepository(git: HostGit, top: string): Promise<Repository> {
  const place = { kind: "user", top } as const;
  const questions = [
    "--is-inside-work-tree",
    "--show-cdup",
    "--is-shallow-repository",
    "--show-object-format",
    "--absolute-git-dir",
    "--path-format=absolute",
    "--git-common-dir",
  ];
  const told = await git.run(place, ["rev-parse", ...questions]);
  if (told.code !== 0) throw gitFailure(["rev-parse"], told.stderr, told.code);
  const [inside, up, shallow, format, gitDirectory, commonDirectory, ...more] = splitLines(told.stdout);
  if (inside !== "true" || up !== "" || more.length > 0 || !gitDirectory || !commonDirectory) {
    throw new BangerError(
      "wrong_state",
      `Cannot send ${quote(top)}: its files lie elsewhere (core.worktree), or its path has a line break`,
      "Clone it, and run banger in the clone",
    );
  }
  const head = await git.run(place, ["rev-parse", "--quiet", "--verify", "HEAD^{commit}"]);
  const headRef = await git.run(place, ["symbolic-ref", "--quiet", "HEAD"]);
  return {
    place,
    top,
    gitDirectory: displayText(gitDirectory),
    commonDirectory: displayText(commonDirectory),
    isShallow: shallow === "true",
    objectFormat: format === "sha256" ? "sha256" : "sha1",
    head: head.code === 0 ? head.stdout.trim() as ByteString : undefined,
    headRef: headRef.code === 0 ? headRef.stdout.replace(/\n$/, "") as ByteString : undefined,
    config: new GitConfig(await git.read(place, ["config", "--list", "-z"])),
  };
}
