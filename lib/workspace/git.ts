/**
 * The host's git, so called that nothing which a repository says can make it run a program or reach the
 * network. Two kinds of repository are told apart: the user's, whose configuration is read but whose
 * programs are off, and banger's own, where nobody else's configuration counts at all.
 */
import { concatBytes } from "../base/bytes.ts";
import { BangerError } from "../base/errors.ts";
import type { Processes } from "../base/host.ts";
import { quote } from "../base/names.ts";
import { type ByteString, byteString } from "../base/tree.ts";

/** Far more than the longest list of paths. */
const MAX_LIST_BYTES = 1024 * 1024 * 1024;
const MAX_REASON_LENGTH = 300;

export type GitProcesses = Pick<Processes, "pipe">;

/** Which repository a command works on. */
export type GitPlace =
  /** The user's, from its top directory. */
  | { readonly kind: "user"; readonly top: string }
  | OwnPlace;

/** A repository of banger's own; `workTree` only where files are compared or written. */
export interface OwnPlace {
  readonly kind: "own";
  readonly gitDirectory: string;
  readonly workTree?: string;
  /** Where objects or the index lie elsewhere. */
  readonly environment?: Readonly<Record<string, string>>;
}

export interface GitInput {
  readonly stdin?: Uint8Array | AsyncIterable<Uint8Array>;
  /** Beside the fixed ones; for places inside banger's own directories. */
  readonly environment?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
  /** More `-c key=value`. */
  readonly configuration?: readonly string[];
}

export interface GitResult {
  readonly code: number;
  readonly stdout: ByteString;
  readonly stderr: string;
}

/** The variables that git gets: everything named GIT_ that the user's shell has stays out. */
export interface GitEnvironment {
  readonly PATH: string;
  readonly HOME: string;
  readonly XDG_CONFIG_HOME?: string;
  /** Where the user's own configuration lies, if not at home: it holds the identity and safe directories. */
  readonly GIT_CONFIG_GLOBAL?: string;
}

/**
 * What a repository's configuration could name as a program, and what could run beside a command. Given on
 * the command line it outranks every file. Source: git-config(1)
 */
const NO_PROGRAMS: readonly string[] = [
  "core.fsmonitor=false",
  "core.hooksPath=/dev/null",
  "core.pager=cat",
  "core.editor=false",
  "core.sshCommand=false",
  "core.gitProxy=false",
  "core.alternateRefsCommand=false",
  "credential.helper=",
  "protocol.allow=never",
  "gc.auto=0",
  "maintenance.auto=false",
  "log.showSignature=false",
  "submodule.recurse=false",
  "core.protectHFS=true",
  "core.protectNTFS=true",
  "advice.objectNameWarning=false",
];

/** Of the user's home nothing counts in banger's own repositories. */
const NO_FILES: readonly string[] = ["core.attributesFile=/dev/null", "core.excludesFile=/dev/null"];

const FIXED_ENVIRONMENT: Readonly<Record<string, string>> = {
  LC_ALL: "C",
  GIT_TERMINAL_PROMPT: "0",
  GIT_OPTIONAL_LOCKS: "0",
  // Commits as they are, not as refs/replace or a grafts file would have them.
  GIT_NO_REPLACE_OBJECTS: "1",
  GIT_GRAFT_FILE: "/dev/null",
  // A partial clone fetches what it lacks: over no transport, and newer ones not at all.
  GIT_ALLOW_PROTOCOL: "none",
  GIT_NO_LAZY_FETCH: "1",
  GIT_ASKPASS: "false",
  GIT_LITERAL_PATHSPECS: "1",
  GIT_PAGER: "cat",
  GIT_ATTR_NOSYSTEM: "1",
};

const OWN_ENVIRONMENT: Readonly<Record<string, string>> = {
  GIT_CONFIG_GLOBAL: "/dev/null",
  GIT_CONFIG_NOSYSTEM: "1",
  GIT_AUTHOR_NAME: "banger",
  GIT_AUTHOR_EMAIL: "banger@localhost",
  GIT_AUTHOR_DATE: "@0 +0000",
  GIT_COMMITTER_NAME: "banger",
  GIT_COMMITTER_EMAIL: "banger@localhost",
  GIT_COMMITTER_DATE: "@0 +0000",
};

export class HostGit {
  readonly #processes: GitProcesses;
  readonly #environment: GitEnvironment;

  constructor(processes: GitProcesses, environment: GitEnvironment) {
    this.#processes = processes;
    this.#environment = environment;
  }

  /** Runs to the end. A non-zero code is a result. @throws {BangerError} `missing_tool` without git */
  async run(place: GitPlace, args: readonly string[], input: GitInput = {}): Promise<GitResult> {
    const { stdout, result } = await this.stream(place, args, input);
    const chunks: Uint8Array[] = [];
    let length = 0;
    for await (const chunk of stdout) {
      length += chunk.length;
      if (length > MAX_LIST_BYTES) {
        throw new BangerError("corrupt_data", `Cannot use what git ${args[0]} prints: it is too much`);
      }
      chunks.push(chunk);
    }
    const { code, stderr } = await result;
    return { code, stdout: byteString(concatBytes(chunks)), stderr };
  }

  /** As `run`, where another code than 0 is a failure. @returns stdout */
  async read(place: GitPlace, args: readonly string[], input: GitInput = {}): Promise<ByteString> {
    const { code, stdout, stderr } = await this.run(place, args, input);
    if (code === 0) return stdout;
    throw gitFailure(args, stderr, code);
  }

  /** stdout as it comes. */
  async stream(place: GitPlace, args: readonly string[], input: GitInput = {}) {
    const fixed = place.kind === "own" ? [...NO_PROGRAMS, ...NO_FILES] : NO_PROGRAMS;
    const configuration = [...fixed, ...(input.configuration ?? [])].flatMap((entry) => ["-c", entry]);
    const own = place.kind === "own"
      ? [`--git-dir=${place.gitDirectory}`, ...(place.workTree ? [`--work-tree=${place.workTree}`] : [])]
      : ["-C", place.top];
    const command = {
      program: "git",
      args: ["--no-pager", ...own, ...configuration, ...args],
      cwd: place.kind === "own" ? place.workTree ?? place.gitDirectory : place.top,
      env: {
        ...this.#environment,
        ...FIXED_ENVIRONMENT,
        ...(place.kind === "own" ? { ...OWN_ENVIRONMENT, ...place.environment } : {}),
        ...input.environment,
      },
      clearEnv: true,
    };
    const { stdin } = input;
    return await this.#processes.pipe(
      command,
      input.signal,
      stdin instanceof Uint8Array ? once(stdin) : stdin,
    );
  }
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  await Promise.resolve();
  if (bytes.length > 0) yield bytes;
}

/** What git says went wrong, quoted: a repository may have made it up. */
export function gitWords(stderr: string, code: number): string {
  const lines = stderr.trim().split("\n");
  const words = lines.find((line) => /^(fatal|error):/.test(line)) ?? lines[0] ?? "";
  if (words === "") return `it ended with ${code}`;
  return quote(words.replace(/^(fatal|error): /, "").slice(0, MAX_REASON_LENGTH));
}

export function gitFailure(args: readonly string[], stderr: string, code: number): BangerError {
  return new BangerError(
    "source_unavailable",
    `Cannot use the git repository: git ${args[0]} says ${gitWords(stderr, code)}`,
    "See whether git itself is content with it: git status",
  );
}

/** @returns what NULs separate or end */
export function splitNul(text: ByteString): ByteString[] {
  const parts = text.split("\0") as ByteString[];
  if (parts.at(-1) === "") parts.pop();
  return parts;
}

/** Lines of what can't hold a line break: ids, names of refs. */
export function splitLines(text: ByteString): ByteString[] {
  const lines = text.split("\n") as ByteString[];
  if (lines.at(-1) === "") lines.pop();
  return lines;
}
