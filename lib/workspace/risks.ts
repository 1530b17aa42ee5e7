/** What of a guest's work could run on the host, leak, or reach out of the tree, once it is there. */
import type { ByteString } from "../base/tree.ts";
import type { Change } from "./changes.ts";
import { GITLINK_MODE } from "./index_file.ts";
import { looksSecret } from "./secrets.ts";

export type RiskKind =
  | "runs"
  | "leaves the tree"
  | "git settings"
  | "secret"
  | "binary"
  | "mode"
  | "repository"
  | "name";

export interface Risk {
  readonly kind: RiskKind;
  readonly path: ByteString;
  /** Completes a sentence about the file. */
  readonly why: string;
}

/** These are asked about before anything lands. */
export const ASKED_KINDS: readonly RiskKind[] = ["runs", "leaves the tree", "git settings", "secret"];

const SYMLINK_MODE = 0o120000;
const EXECUTABLE_MODE = 0o100755;
/** As much of a file as is looked at for keys. */
export const LOOKED_AT_BYTES = 256 * 1024;

/** Read by a tool as soon as somebody enters, opens, builds or commits: by whole path, in lower case. */
const RUNNING: readonly (readonly [RegExp, string])[] = [
  [/(^|\/)(\.husky|\.githooks|githooks|git-hooks|hooks)\//, "a git hook, where hooks are taken from there"],
  [
    /(^|\/)(\.pre-commit-config\.yaml|\.?lefthook(-local)?\.(ya?ml|toml|json)|\.overcommit\.yml)$/,
    "names git hooks",
  ],
  [/(^|\/)\.lintstagedrc(\.[a-z]+)?$/, "commands that run on commit"],
  [/(^|\/)\.envrc$/, "direnv runs it on entering the directory"],
  [
    /(^|\/)(\.?mise(\.[a-z]+)?\.toml|\.mise\/.*|\.config\/mise(\/.*|\.toml)|\.tool-versions)$/,
    "mise reads it on entering",
  ],
  [/(^|\/)\.(bashrc|bash_profile|profile|zshrc|zshenv|autoenv(\.zsh)?|env\.zsh)$/, "a shell's start-up file"],
  [
    /(^|\/)\.(github\/(workflows|actions)|circleci|buildkite|woodpecker|gitea|forgejo)\//,
    "runs in continuous integration",
  ],
  [
    /(^|\/)(\.gitlab-ci\.yml|\.travis\.yml|\.drone\.yml|jenkinsfile|azure-pipelines\.ya?ml|bitbucket-pipelines\.yml|appveyor\.yml)$/,
    "runs in continuous integration",
  ],
  [/(^|\/)\.vscode\//, "the editor's tasks, launches and settings"],
  [/\.code-workspace$/, "the editor's tasks, launches and settings"],
  [/(^|\/)\.(idea|fleet|zed|devcontainer|nova)\//, "the editor's tasks, launches and settings"],
  [/(^|\/)\.devcontainer\.json$/, "the editor's tasks, launches and settings"],
  [
    /(^|\/)(\.?(n?vimrc|exrc)|\.nvim\.lua|\.lvimrc|\.dir-locals(-2)?\.el)$/,
    "the editor runs it on opening a file",
  ],
  [/(^|\/)(\.claude|\.cursor|\.gemini|\.codex|\.aider.*)\//, "a coding agent's settings and hooks"],
  [/(^|\/)(\.mcp\.json|claude\.md|agents\.md|\.cursorrules)$/, "a coding agent follows it"],
  [
    /(^|\/)(\.npmrc|\.yarnrc(\.yml)?|\.pnpmfile\.c?js|\.yarn\/(plugins|releases)\/.*)$/,
    "the package manager reads or runs it",
  ],
  [/(^|\/)(build\.rs|\.cargo\/config(\.toml)?)$/, "cargo runs or reads it on every build"],
  [
    /(^|\/)(setup\.py|conftest\.py|sitecustomize\.py|[^/]+\.pth)$/,
    "python runs it on install, test or start",
  ],
  [
    /(^|\/)(\.bazelrc|\.buckconfig|\.justfile|gradlew(\.bat)?|gradle\/wrapper\/.*|\.mvn\/.*|mvnw(\.cmd)?)$/,
    "the build tool reads or runs it",
  ],
];
const GIT_SETTINGS: readonly (readonly [RegExp, string])[] = [
  [/(^|\/)\.gitattributes$/, "names filters, diff and merge drivers"],
  [/(^|\/)\.gitmodules$/, "names other repositories to fetch"],
  [/(^|\/)\.(gitconfig|lfsconfig)$/, "configuration of git"],
];
const PACKAGE_FILE = /(^|\/)(package|composer|deno)\.jsonc?$/;
const KEYS: readonly RegExp[] = [
  /-----BEGIN [A-Z ]*PRIVATE KEY-----/,
  /\b(AKIA|ASIA)[0-9A-Z]{16}\b/,
  /\bgh[pousr]_[A-Za-z0-9]{36,}/,
  /\bgithub_pat_[A-Za-z0-9_]{60,}/,
  /\bglpat-[A-Za-z0-9_-]{20,}/,
  /\bxox[abprs]-[A-Za-z0-9-]{10,}/,
  /\bsk-[A-Za-z0-9_-]{32,}/,
];

/**
 * @param readText the first `LOOKED_AT_BYTES` of an object
 * @returns in the order of the changes
 */
export async function findRisks(
  changes: readonly Change[],
  readText: (oid: ByteString) => Promise<ByteString>,
): Promise<Risk[]> {
  const risks: Risk[] = [];
  const lowered = new Map<string, ByteString>();
  for (const change of changes) {
    if (change.status === "D") continue;
    risks.push(...await risksOf(change, readText));
    const clash = lowered.get(change.path.toLowerCase());
    if (clash !== undefined) {
      risks.push({ kind: "name", path: change.path, why: "differs from another new name only by case" });
    }
    lowered.set(change.path.toLowerCase(), change.path);
  }
  return risks;
}

async function risksOf(
  change: Change,
  readText: (oid: ByteString) => Promise<ByteString>,
): Promise<Risk[]> {
  const { path, newMode, oldMode } = change;
  const risks: Risk[] = [];
  const add = (kind: RiskKind, why: string) => risks.push({ kind, path, why });
  const lower = path.toLowerCase();
  for (const [pattern, why] of RUNNING) if (pattern.test(lower)) add("runs", why);
  for (const [pattern, why] of GIT_SETTINGS) if (pattern.test(lower)) add("git settings", why);
  // deno-lint-ignore no-control-regex
  if (/[\u0000-\u001f\u007f]|^-|\/-/.test(path)) add("name", "has control characters or begins with a dash");
  if (newMode === GITLINK_MODE) {
    add("repository", "is a commit of another repository");
    return risks;
  }
  if (newMode === SYMLINK_MODE) {
    const target = await readText(change.newOid);
    if (leavesTree(path, target)) add("leaves the tree", `is a symlink to ${JSON.stringify(target)}`);
    return risks;
  }
  if (newMode === EXECUTABLE_MODE && oldMode !== EXECUTABLE_MODE) {
    add("mode", oldMode === 0 ? "is new and executable" : "became executable");
  } else if (oldMode !== 0 && newMode !== oldMode) add("mode", "has another mode now");
  if (change.lines === undefined) add("binary", "is binary");
  if (looksSecret(path)) add("secret", "has a name that secrets have");
  if (change.lines === undefined || change.lines.added === 0) return risks;
  const text = await readText(change.newOid);
  if (KEYS.some((pattern) => pattern.test(text))) add("secret", "has what looks like a key or token in it");
  if (PACKAGE_FILE.test(lower)) {
    const before = oldMode === 0 ? "" as ByteString : await readText(change.oldOid);
    if (scriptsOf(text) !== scriptsOf(before)) add("runs", "its scripts are others now");
  }
  return risks;
}

/** Whether a symlink at `path` leads out of the tree, by its text alone. Exported for tests. */
export function leavesTree(path: ByteString, target: ByteString): boolean {
  if (target.startsWith("/")) return true;
  let depth = path.split("/").length - 1;
  for (const part of target.split("/")) {
    if (part === "..") depth--;
    else if (part !== "" && part !== ".") depth++;
    if (depth < 0) return true;
  }
  return false;
}

/** The scripts of a package, as one text to compare; all of it where it can't be read. */
function scriptsOf(text: ByteString): string {
  if (text === "") return "{}";
  try {
    const { scripts, tasks } = JSON.parse(text) as Record<string, unknown>;
    return JSON.stringify({ ...(scripts ? { scripts } : {}), ...(tasks ? { tasks } : {}) });
  } catch (thrown) {
    if (thrown instanceof SyntaxError) return text;
    throw thrown;
  }
}
