import {
  bytesOf,
  checked,
  cString,
  CStringArray,
  errnoOf,
  type Libc,
  LibcError,
  O_RDWR,
  RLIMIT_NOFILE,
  SYS_PIDFD_OPEN,
  WNOHANG,
} from "./libc.ts";
import type { Account } from "./accounts.ts";
import { asUser } from "./identity.ts";
import { type Poller, POLLIN } from "./poller.ts";
import type { ExitStatus } from "../lib/guest/wire/exec.ts";

/** Sizes with room to spare: glibc has 80 and 336 bytes for them, and 128 for a signal set. */
const FILE_ACTIONS_BYTES = 256;
const ATTRIBUTES_BYTES = 512;
const SIGNAL_SET_BYTES = 128;

/** POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSID (glibc's spawn.h) */
const SPAWN_FLAGS = 0x04 | 0x08 | 0x80;

/** What programs expect (Deno raises its own to the hard limit, and children would inherit that). */
const SOFT_OPEN_FILES = 1024n;

/** prlimit(2)'s pid of the caller */
const OURS = 0;

/** chown(2)'s "leave it as it is" */
const UNCHANGED = 0xffff_ffff;

/** Where a child's standard streams come from. */
export type ChildStreams =
  | { readonly kind: "pipes"; readonly stdin: number; readonly stdout: number; readonly stderr: number }
  | { readonly kind: "terminal"; readonly path: string };

export interface ChildCommand {
  /** Absolute, or relative to `cwd`. */
  readonly program: string;
  /** With the name that the program is told it has. */
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string;
  readonly account: Pick<Account, "uid" | "gid" | "groups">;
  readonly streams: ChildStreams;
}

/**
 * Starts a process in a session of its own, so that signals reach all it starts, with a terminal as its
 * controlling one. `posix_spawn` shares memory with the child until it runs: no copy of this process.
 *
 * @returns its pid. It must be waited for with `exitOf`
 * @throws {LibcError} `chdir` for the working directory, `posix_spawn` for the program
 */
export function spawnChild(libc: Libc, command: ChildCommand): number {
  const actions = new Uint8Array(FILE_ACTIONS_BYTES);
  const attributes = new Uint8Array(ATTRIBUTES_BYTES);
  const { call } = libc;
  call.posix_spawn_file_actions_init(actions);
  call.posix_spawnattr_init(attributes);
  try {
    call.posix_spawnattr_setflags(attributes, SPAWN_FLAGS);
    call.posix_spawnattr_setsigmask(attributes, new Uint8Array(SIGNAL_SET_BYTES));
    call.posix_spawnattr_setsigdefault(attributes, new Uint8Array(SIGNAL_SET_BYTES).fill(0xff));
    addStreams(libc, actions, command.streams);
    giveStreams(libc, command.streams, command.account.uid);
    return spawnIn(libc, command, actions, attributes);
  } finally {
    call.posix_spawn_file_actions_destroy(actions);
    call.posix_spawnattr_destroy(attributes);
  }
}

function addStreams({ call }: Libc, actions: Uint8Array<ArrayBuffer>, streams: ChildStreams): void {
  if (streams.kind === "terminal") {
    // A session's leader that opens a terminal gets it as its controlling one.
    call.posix_spawn_file_actions_addopen(actions, 0, cString(streams.path), O_RDWR, 0);
    call.posix_spawn_file_actions_adddup2(actions, 0, 1);
    call.posix_spawn_file_actions_adddup2(actions, 0, 2);
    return;
  }
  call.posix_spawn_file_actions_adddup2(actions, streams.stdin, 0);
  call.posix_spawn_file_actions_adddup2(actions, streams.stdout, 1);
  call.posix_spawn_file_actions_adddup2(actions, streams.stderr, 2);
}

/** So that the child may open them again, as /dev/stdout or /dev/tty. */
function giveStreams({ call }: Libc, streams: ChildStreams, uid: number): void {
  if (uid === 0) return;
  if (streams.kind === "terminal") call.chown(cString(streams.path), uid, UNCHANGED);
  else {
    for (const fd of [streams.stdin, streams.stdout, streams.stderr]) call.fchown(fd, uid, UNCHANGED);
  }
}

/**
 * The child inherits directory, limits and user, so they are changed here and back. Nothing else of ours runs in
 * between, and nothing of ours uses relative paths.
 */
function spawnIn(
  libc: Libc,
  { program, argv, env, cwd, account }: ChildCommand,
  actions: Uint8Array<ArrayBuffer>,
  attributes: Uint8Array<ArrayBuffer>,
): number {
  const { call } = libc;
  const pid = new Int32Array(1);
  const argvArray = new CStringArray(argv);
  const envArray = new CStringArray(Object.entries(env).map(([name, value]) => `${name}=${value}`));
  const ownLimits = new BigUint64Array(2);
  checked(libc, "prlimit", call.prlimit(OURS, RLIMIT_NOFILE, null, bytesOf(ownLimits)));
  const hard = ownLimits[1]!;
  const childLimits = BigUint64Array.of(hard < SOFT_OPEN_FILES ? hard : SOFT_OPEN_FILES, hard);
  if (call.chdir(cString(cwd)) < 0) throw new LibcError("chdir", errnoOf(libc));
  try {
    call.prlimit(OURS, RLIMIT_NOFILE, bytesOf(childLimits), null);
    const failure = asUser(
      libc,
      account,
      () =>
        call.posix_spawn(
          bytesOf(pid),
          cString(program),
          actions,
          attributes,
          argvArray.pointers,
          envArray.pointers,
        ),
    );
    if (failure !== 0) throw new LibcError("posix_spawn", failure);
  } finally {
    call.prlimit(OURS, RLIMIT_NOFILE, bytesOf(ownLimits), null);
    call.chdir(cString("/"));
  }
  return pid[0]!;
}

/**
 * Waits for a child and reaps it: until then its pid, and its process group's number, stay its own.
 *
 * @param beforeReaping called when it has ended
 */
export async function exitOf(
  libc: Libc,
  poller: Poller,
  pid: number,
  beforeReaping: () => void,
): Promise<ExitStatus> {
  const pidfd = checked(libc, "pidfd_open", Number(libc.call.syscall(SYS_PIDFD_OPEN, BigInt(pid), 0n)));
  try {
    if (await poller.wait(pidfd, POLLIN) === 0) throw new LibcError("poll", 0);
    beforeReaping();
    const status = new Int32Array(1);
    checked(libc, "waitpid", libc.call.waitpid(pid, bytesOf(status), WNOHANG));
    return parseWaitStatus(status[0]!);
  } finally {
    poller.forget(pidfd);
    libc.call.close(pidfd);
  }
}

/** Source: wait(2), WIFEXITED and its kin */
function parseWaitStatus(status: number): ExitStatus {
  const signal = status & 0x7f;
  return signal === 0 ? { code: (status >> 8) & 0xff } : { signal };
}
