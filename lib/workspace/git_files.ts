/** The small files of a `.git` that banger writes: nothing of the user's is copied but by name. */
import { BangerError } from "../base/errors.ts";
import type { ByteString } from "../base/tree.ts";
import type { GitConfig } from "./repository.ts";

/** Variables that decide what files look like and what `git status` shows. None names a program or a path. */
const SHARED_KEYS: readonly string[] = [
  "core.autocrlf",
  "core.eol",
  "core.safecrlf",
  "core.filemode",
  "core.symlinks",
  "core.ignorecase",
  "core.precomposeunicode",
  "core.quotepath",
  "core.sparsecheckout",
  "core.sparsecheckoutcone",
  "core.whitespace",
  "core.commentchar",
  "status.showuntrackedfiles",
  "status.relativepaths",
  "status.renames",
  "diff.renames",
  "diff.algorithm",
  "merge.conflictstyle",
  "pull.rebase",
  "push.default",
  "user.name",
  "user.email",
];
const REMOTE = "origin";

/**
 * The configuration of banger's own copy on the host, to hash files as the user's git does, but for filters.
 */
export function ownConfig(config: GitConfig, objectFormat: "sha1" | "sha256"): ByteString {
  const variables = baseVariables(objectFormat);
  for (const key of SHARED_KEYS) {
    const value = config.find(key);
    if (value !== undefined && /^core\.(?!sparse)/.test(key)) variables.push([key, value]);
  }
  return configText(variables);
}

/** @param branch the short name of the guest's branch; undefined where HEAD is detached */
export function guestConfig(
  config: GitConfig,
  objectFormat: "sha1" | "sha256",
  branch: ByteString | undefined,
): ByteString {
  const variables = baseVariables(objectFormat);
  variables.push(
    ["core.logallrefupdates", "true"],
    // The files' times and sizes came along, inode numbers cannot: so git need not read every file again.
    ["core.checkstat", "minimal"],
    ["core.trustctime", "false"],
  );
  for (const key of SHARED_KEYS) {
    const value = config.find(key);
    if (value !== undefined) variables.push([key, value]);
  }
  const url = originUrl(config);
  if (url !== undefined) {
    variables.push([`remote.${REMOTE}.url`, url]);
    variables.push([`remote.${REMOTE}.fetch`, `+refs/heads/*:refs/remotes/${REMOTE}/*`]);
    if (isPartialClone(config)) {
      variables.push(["extensions.partialclone", REMOTE], [`remote.${REMOTE}.promisor`, "true"]);
    }
  }
  const remote = branch === undefined ? undefined : config.find(`branch.${branch}.remote`);
  const merge = branch === undefined ? undefined : config.find(`branch.${branch}.merge`);
  if (remote === REMOTE && merge !== undefined) {
    variables.push([`branch.${branch}.remote`, remote], [`branch.${branch}.merge`, merge]);
  }
  for (const [key, value] of config.entries()) {
    if (/^submodule\..*\.active$/s.test(key)) variables.push([key, value]);
    else if (/^submodule\..*\.url$/s.test(key)) variables.push([key, withoutPassword(value)]);
  }
  return configText(variables);
}

/** Whether objects may be missing here that its remote has promised. */
export function isPartialClone(config: GitConfig): boolean {
  return config.find("extensions.partialclone") !== undefined;
}

/** Where the user's own repository comes from, without a password. Exported for tests. */
export function originUrl(config: GitConfig): ByteString | undefined {
  const url = config.find(`remote.${REMOTE}.url`);
  return url === undefined ? undefined : withoutPassword(url);
}

/** A password or token in a URL is for the host alone: the user's name stays, since ssh needs it. */
function withoutPassword(url: ByteString): ByteString {
  const scheme = /^([a-z][a-z0-9+.-]*:\/\/)([^/@]*)@/is.exec(url);
  if (!scheme) return url;
  const rest = url.slice(scheme[0].length);
  const user = scheme[2]!.split(":")[0];
  // Of HTTP even a bare name may be a token.
  const kept = /^https?:/i.test(scheme[1]!) ? "" : `${user}@`;
  return `${scheme[1]}${kept}${rest}` as ByteString;
}

type Variable = [key: string, value: string];

function baseVariables(objectFormat: "sha1" | "sha256"): Variable[] {
  const variables: Variable[] = [["core.repositoryformatversion", "1"], ["core.bare", "false"]];
  if (objectFormat !== "sha1") variables.push(["extensions.objectformat", objectFormat]);
  return variables;
}

/** Source: git-config(1), "Syntax" */
function configText(variables: readonly Variable[]): ByteString {
  const lines = variables.flatMap(([key, value]) => {
    const first = key.indexOf(".");
    const last = key.lastIndexOf(".");
    const middle = key.slice(first + 1, last);
    // A name with a line break can't be written: git's own commands would not make one.
    if (middle.includes("\n")) return [];
    const subsection = first === last ? "" : ` "${middle.replaceAll(/["\\]/g, (special) => `\\${special}`)}"`;
    return `[${key.slice(0, first)}${subsection}]\n\t${key.slice(last + 1)} = ${quoted(value)}\n`;
  });
  return lines.join("") as ByteString;
}

function quoted(text: string): string {
  if (text.includes("\0")) throw new BangerError("internal", "Cannot write a NUL into a git configuration");
  const escapes: Record<string, string> = { "\n": "\\n", "\t": "\\t", "\b": "\\b" };
  // deno-lint-ignore no-control-regex -- what git's own syntax escapes
  return `"${text.replaceAll(/["\\\n\t\u0008]/g, (special) => escapes[special] ?? `\\${special}`)}"`;
}
