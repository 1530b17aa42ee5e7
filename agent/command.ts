import { BangerError } from "../lib/base/errors.ts";
import { quote } from "../lib/base/names.ts";
import type { ExecStart } from "../lib/guest/wire/exec.ts";
import { type Account, DEFAULT_SHELL, ROOT_HOME } from "./accounts.ts";
import { commandEnvironment, readSurroundings } from "./environment.ts";
import {
  cString,
  E2BIG,
  EACCES,
  ENOENT,
  ENOEXEC,
  ENOTDIR,
  F_OK,
  type Libc,
  LibcError,
  X_OK,
} from "./libc.ts";
import { asUser } from "./identity.ts";
import { type ChildCommand, type ChildStreams, spawnChild } from "./spawn.ts";

/** Exit codes of shells for commands that do not start (POSIX, "Exit Status for Commands"), and docker's 125. */
const NOT_FOUND = 127;
const NOT_EXECUTABLE = 126;
const NOT_STARTED = 125;

/** What banger's initramfs leaves in every guest: stands in for the shell of an image that has none. */
const BUSYBOX = "/run/banger/bin/busybox";
/** Shells that let nobody in; whoever asks for one here is in already. */
const NO_SHELLS = ["nologin", "false"];

/** A command that cannot start, with the exit code that stands for it. */
export class CommandFailure extends BangerError {
  constructor(readonly commandExitCode: number, ...error: ConstructorParameters<typeof BangerError>) {
    super(...error);
  }
}

export type ResolvedCommand = Omit<ChildCommand, "streams">;

/**
 * @throws {CommandFailure} where PATH has no such program
 * @throws {BangerError} `not_found` where the guest has no such user
 */
export function resolveCommand(libc: Libc, start: ExecStart): ResolvedCommand {
  const { account, machine, workingDirectory } = readSurroundings(libc, start.user);
  const shell = loginShellOf(libc, account);
  const env = commandEnvironment(start, { ...account, shell }, machine);
  // Where nothing is said, each user starts at home.
  const own = account.uid !== 0 && workingDirectory === ROOT_HOME ? [] : [workingDirectory];
  const cwd = start.cwd ?? defaultDirectory(libc, account, [...own, account.home]);
  const [name, ...args] = start.argv;
  const common = { env, cwd, account };
  if (name === undefined) {
    const base = shell.slice(shell.lastIndexOf("/") + 1);
    return { program: standIn(libc, shell), argv: [`-${base}`], ...common };
  }
  const isShell = name === DEFAULT_SHELL || name === "sh";
  const program = isShell && !isExecutable(libc, DEFAULT_SHELL)
    ? standIn(libc, DEFAULT_SHELL)
    : name.includes("/")
    ? name
    : findInPath(libc, name, env.PATH ?? "", cwd);
  return { program, argv: [name, ...args], ...common };
}

/** How a user comes in who says nothing else. @throws {BangerError} `not_found` for one that the guest does not know */
export function loginOf(libc: Libc, user: string): { account: Account; shell: string; home: string } {
  const { account } = readSurroundings(libc, user);
  return {
    account,
    shell: loginShellOf(libc, account),
    home: defaultDirectory(libc, account, [account.home]),
  };
}

function loginShellOf(libc: Libc, { shell }: Account): string {
  const base = shell.slice(shell.lastIndexOf("/") + 1);
  return NO_SHELLS.includes(base) || !isExecutable(libc, shell) ? DEFAULT_SHELL : shell;
}

/** An image may have no shell at all: busybox is one, told so by its argv. */
function standIn(libc: Libc, shell: string): string {
  return !isExecutable(libc, shell) && isExecutable(libc, BUSYBOX) ? BUSYBOX : shell;
}

function isExecutable({ call }: Libc, path: string): boolean {
  return call.access(cString(path), X_OK) === 0;
}

/** A directory that is absent or closed to the user must not keep anybody out of a machine. */
function defaultDirectory(libc: Libc, account: Account, wanted: readonly string[]): string {
  // "/." says the same of a directory, and fails for anything else.
  return wanted.find((path) => asUser(libc, account, () => isExecutable(libc, `${path}/.`))) ?? "/";
}

/** @throws {CommandFailure} saying what is in the way */
export function startCommand(libc: Libc, command: ResolvedCommand, streams: ChildStreams): number {
  try {
    return spawnChild(libc, { ...command, streams });
  } catch (failure) {
    if (!(failure instanceof LibcError)) throw failure;
    const shell = standIn(libc, DEFAULT_SHELL);
    if (failure.errno === ENOEXEC && command.program !== shell) {
      // A script without "#!": shells and execvp(3) give it to sh.
      const argv = ["sh", command.program, ...command.argv.slice(1)];
      return startCommand(libc, { ...command, program: shell, argv }, streams);
    }
    throw explain(failure, command);
  }
}

function explain(failure: LibcError, { program, cwd }: ResolvedCommand): CommandFailure {
  if (failure.call === "chdir") return explainCwd(failure, cwd);
  const action = `Cannot run ${quote(program)} in the guest`;
  if (failure.errno === ENOENT || failure.errno === ENOTDIR) {
    const why = isFile(program) ? "its interpreter or loader does not exist" : "it does not exist";
    return new CommandFailure(NOT_FOUND, "not_found", `${action}: ${why}`, "Check the path inside the guest");
  }
  if (failure.errno === EACCES) {
    return new CommandFailure(NOT_EXECUTABLE, "permission_denied", `${action}: it is not executable`);
  }
  if (failure.errno === E2BIG) {
    return new CommandFailure(NOT_EXECUTABLE, "invalid_argument", `${action}: its arguments are too long`);
  }
  return new CommandFailure(NOT_STARTED, "guest_failed", `${action}: errno ${failure.errno}`);
}

function explainCwd({ errno }: LibcError, cwd: string): CommandFailure {
  const why = errno === ENOENT
    ? "it does not exist"
    : errno === ENOTDIR
    ? "it is no directory"
    : `errno ${errno}`;
  const text = `Cannot run a command in ${quote(cwd)}: ${why}`;
  return new CommandFailure(NOT_STARTED, "not_found", text, "Name a directory that exists in the guest");
}

/** As execvp(3) looks: the first executable file wins. */
function findInPath(libc: Libc, name: string, path: string, cwd: string): string {
  let isThere = false;
  for (const directory of name === "" ? [] : path.split(":")) {
    const candidate = directory.startsWith("/")
      ? `${directory}/${name}`
      : `${cwd}/${directory || "."}/${name}`;
    // One call for most of them: Deno's stat costs far more.
    if (libc.call.access(cString(candidate), F_OK) !== 0 || !isFile(candidate)) continue;
    if (libc.call.access(cString(candidate), X_OK) === 0) return candidate;
    isThere = true;
  }
  if (isThere) {
    const text = `Cannot run ${quote(name)} in the guest: it is not executable`;
    throw new CommandFailure(NOT_EXECUTABLE, "permission_denied", text);
  }
  const text = `Cannot run ${quote(name)} in the guest: no directory of PATH has it`;
  throw new CommandFailure(NOT_FOUND, "not_found", text, "Check its spelling, or install it in the guest");
}

function isFile(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch {
    // Absent, or behind what is no directory: the program's own start tells which, where it matters.
    return false;
  }
}
