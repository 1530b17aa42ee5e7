import { BangerError } from "../lib/base/errors.ts";
import { quote } from "../lib/base/names.ts";
import type { ExecStart } from "../lib/guest/wire/exec.ts";
import { commandEnvironment, readEnvironmentSources } from "./environment.ts";
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
import { type ChildCommand, type ChildStreams, spawnChild } from "./spawn.ts";

/** Exit codes of shells for commands that do not start (POSIX, "Exit Status for Commands"), and docker's 125. */
const NOT_FOUND = 127;
const NOT_EXECUTABLE = 126;
const NOT_STARTED = 125;

/** What runs scripts without "#!". */
const SHELL = "/bin/sh";

/** A command that cannot start, with the exit code that stands for it. */
export class CommandFailure extends BangerError {
  constructor(readonly commandExitCode: number, ...error: ConstructorParameters<typeof BangerError>) {
    super(...error);
  }
}

export type ResolvedCommand = Omit<ChildCommand, "streams">;

/** @throws {CommandFailure} where PATH has no such program */
export function resolveCommand(libc: Libc, start: ExecStart): ResolvedCommand {
  const { account, machine } = readEnvironmentSources(libc);
  const env = commandEnvironment(start, account, machine);
  const [name, ...args] = start.argv;
  // An absent home must not keep anybody out of a machine.
  const cwd = start.cwd ?? (isDirectory(account.home) ? account.home : "/");
  if (name === undefined) {
    const base = account.shell.slice(account.shell.lastIndexOf("/") + 1);
    return { program: account.shell, argv: [`-${base}`], env, cwd };
  }
  const program = name.includes("/") ? name : findInPath(libc, name, env.PATH ?? "", cwd);
  return { program, argv: [name, ...args], env, cwd };
}

/** @throws {CommandFailure} saying what is in the way */
export function startCommand(libc: Libc, command: ResolvedCommand, streams: ChildStreams): number {
  try {
    return spawnChild(libc, { ...command, streams });
  } catch (failure) {
    if (!(failure instanceof LibcError)) throw failure;
    if (failure.errno === ENOEXEC && command.program !== SHELL) {
      // A script without "#!": shells and execvp(3) give it to sh.
      const argv = ["sh", command.program, ...command.argv.slice(1)];
      return startCommand(libc, { ...command, program: SHELL, argv }, streams);
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
  return statIfThere(path)?.isFile ?? false;
}

function isDirectory(path: string): boolean {
  return statIfThere(path)?.isDirectory ?? false;
}

function statIfThere(path: string): Deno.FileInfo | undefined {
  try {
    return Deno.statSync(path);
  } catch {
    // Absent, or behind what is no directory: the program's own start tells which, where it matters.
    return undefined;
  }
}
