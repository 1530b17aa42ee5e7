/**
 * `POST /v1/files/in` and `/v1/files/out`; the protocol is in `lib/guest/wire/files.ts`. Bytes go straight between
 * the connection and the file: under emulation each other process that they pass costs more than all of the rest,
 * for the switches between them.
 */
import { BangerError } from "../lib/base/errors.ts";
import { quote } from "../lib/base/names.ts";
import { type FileIn, type FileOut, parseFileIn, parseFileOutRequest } from "../lib/guest/wire/files.ts";
import { WINDOW_FIELD } from "../lib/guest/wire/window.ts";
import type { Account } from "./accounts.ts";
import { resolveCommand } from "./command.ts";
import type { Exchange } from "./exchange.ts";
import { readBody, writeBody, writeSlots } from "./file_body.ts";
import { asUser } from "./identity.ts";
import {
  checked,
  cString,
  EACCES,
  ELOOP,
  ENOENT,
  ENOSPC,
  type Libc,
  LibcError,
  O_CLOEXEC,
  O_CREAT,
  O_EXCL,
  O_NOCTTY,
  O_NOFOLLOW,
  O_NONBLOCK,
  O_WRONLY,
} from "./libc.ts";
import { openWindow } from "./window.ts";

const ONLY_OWNER = 0o600;
/** A program that is surely there, for the user's directory alone. */
const ANY_PROGRAM = "/";

type Identity = Pick<Account, "uid" | "gid" | "groups">;

/** Takes one file. What is new stands in its place by a rename, once its last byte is there. */
export async function serveFileIn(
  libc: Libc,
  exchange: Exchange,
  query: URLSearchParams,
  configDisk?: string,
): Promise<void> {
  const request = parseFileIn(query);
  const { account, cwd } = resolveCommand(libc, { argv: [ANY_PROGRAM], ...userOf(request) });
  const target = placeOf(libc, account, cwd, request);
  const stage = `${parentOf(target)}/.banger-cp-${crypto.randomUUID().slice(0, 8)}`;
  using slots = request.usesWindow ? openWindow(libc, configDisk) : undefined;
  const flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
  const fd = opened(libc, account, stage, flags);
  try {
    try {
      await exchange.begin(slots ? { [WINDOW_FIELD]: slots.name } : {});
      if (slots) await writeSlots(libc, fd, slots, exchange);
      else await writeBody(libc, fd, exchange);
      finishFile(libc, fd, request);
    } finally {
      libc.call.close(fd);
    }
    asUser(libc, account, () => checked(libc, "rename", libc.call.rename(cString(stage), cString(target))));
  } catch (failure) {
    asUser(libc, account, () => libc.call.unlink(cString(stage)));
    if (!(failure instanceof LibcError)) throw failure;
    return await exchange.end(encodeJson({ error: explained(failure, target).toBody() }));
  }
  await exchange.end(encodeJson({}));
}

/** Gives one regular file: of all else the caller makes an archive. */
export async function serveFileOut(libc: Libc, exchange: Exchange, query: URLSearchParams): Promise<void> {
  const request = parseFileOutRequest(query);
  const { account, cwd } = resolveCommand(libc, { argv: [ANY_PROGRAM], ...userOf(request) });
  const path = absolute(cwd, request.path);
  // Never waits: a FIFO without another end, a terminal.
  const fd = opened(libc, account, path, O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
  try {
    const { isFile, size, mode, mtime } = Deno.statSync(`/proc/self/fd/${fd}`);
    if (!isFile) {
      throw new BangerError("invalid_argument", `Cannot send ${quote(path)}: it is no regular file`);
    }
    const head: FileOut = {
      sizeBytes: size,
      mode: (mode ?? 0) & 0o7777,
      mtimeSeconds: Math.floor((mtime?.getTime() ?? 0) / 1000),
    };
    await exchange.send(new TextEncoder().encode(`${JSON.stringify(head)}\n`));
    await readBody(libc, fd, size, exchange, path);
    await exchange.end();
  } finally {
    libc.call.close(fd);
  }
}

function userOf({ user }: Pick<FileIn, "user">): { user?: string } {
  return user === undefined ? {} : { user };
}

function absolute(cwd: string, path: string): string {
  return path.startsWith("/") ? path : `${cwd}/${path}`;
}

function parentOf(path: string): string {
  return path.slice(0, path.lastIndexOf("/"));
}

/** @throws {BangerError} where it cannot go there: a directory of that name, or none around it */
function placeOf(libc: Libc, account: Identity, cwd: string, { path, name }: FileIn): string {
  const isDirectory = (at: string) => asUser(libc, account, () => isDirectoryHere(at));
  const asked = absolute(cwd, path);
  const target = isDirectory(asked) ? `${asked}/${name}` : asked;
  if (isDirectory(target)) {
    throw new BangerError(
      "already_exists",
      `Cannot write ${quote(target)}: a directory of that name is there`,
    );
  }
  if (!target.endsWith("/") && isDirectory(parentOf(target))) return target;
  throw new BangerError("not_found", `Cannot write ${quote(target)}: there is no such directory`);
}

/** As the user that this thread is now. */
function isDirectoryHere(path: string): boolean {
  try {
    return Deno.statSync(path === "" ? "/" : path).isDirectory;
  } catch {
    // Absent, or nothing that this user may look at: what is tried next says so.
    return false;
  }
}

/** @throws {BangerError} why it cannot be opened */
function opened(libc: Libc, account: Identity, path: string, flags: number): number {
  try {
    const open = () => checked(libc, "open", libc.call.open(cString(path), flags, ONLY_OWNER));
    return asUser(libc, account, open);
  } catch (failure) {
    if (failure instanceof LibcError) throw explained(failure, path);
    throw failure;
  }
}

function finishFile(libc: Libc, fd: number, { mode, mtimeSeconds }: FileIn): void {
  checked(libc, "fchmod", libc.call.fchmod(fd, mode));
  const times = BigInt64Array.of(BigInt(mtimeSeconds), 0n, BigInt(mtimeSeconds), 0n);
  checked(libc, "futimens", libc.call.futimens(fd, new Uint8Array(times.buffer)));
}

function explained({ call, errno }: LibcError, path: string): BangerError {
  const at = quote(path);
  if (errno === ENOENT) return new BangerError("not_found", `Cannot open ${at}: there is no such file`);
  if (errno === EACCES) return new BangerError("permission_denied", `Cannot open ${at}: permission denied`);
  if (errno === ELOOP) return new BangerError("invalid_argument", `Cannot open ${at}: it is a symlink`);
  if (errno === ENOSPC) {
    return new BangerError(
      "guest_failed",
      `Cannot write all of ${at}: no space is left in the guest`,
      "See what fills it: banger vm exec NAME -- df -h",
    );
  }
  return new BangerError("guest_failed", `Cannot copy ${at}: ${call} fails with errno ${errno}`);
}

function encodeJson(value: unknown): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(value));
}
