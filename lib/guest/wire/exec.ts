/**
 * `POST /v1/exec`: a command, its streams, its end.
 *
 * ```text
 *   host                                      guest
 *   start {argv, …} ─────────────────────────▶        first, once
 *                   ◀───────────────────────── started {pid}          or failed {error, exitCode}
 *   stdin bytes ─────────────────────────────▶        at most the window; then waits for more
 *                   ◀───────────────────────── stdin-window u32       so many bytes more may be sent
 *   stdin-end ───────────────────────────────▶
 *   resize u16 rows, u16 columns ────────────▶        with a terminal
 *   signal "SIGINT" ─────────────────────────▶        to the command's process group
 *                   ◀───────────────────────── stdout bytes, stderr bytes
 *                   ◀───────────────────────── exited {code} or {signal}      last, once
 * ```
 *
 * The window lets signals and resizes pass a command that does not read its stdin. With a terminal there
 * is no stderr. Where the client goes before the end, the process group is ended: SIGHUP (terminal) or
 * SIGTERM, then SIGKILL.
 */
import { BangerError, type ErrorBody } from "../../base/errors.ts";
import { errorOfGuest } from "./guest_text.ts";

/** Sent by the host: below 0x10. Sent by the guest: from 0x10. */
export const EXEC_FRAME = {
  start: 0x01,
  stdin: 0x02,
  stdinEnd: 0x03,
  resize: 0x04,
  signal: 0x05,
  started: 0x11,
  stdout: 0x12,
  stderr: 0x13,
  stdinWindow: 0x14,
  exited: 0x15,
  failed: 0x16,
  /** u32: so many bytes of output in front of what follows are gone. Of sessions only (`sessions.ts`). */
  lost: 0x17,
  /** Last, instead of `exited`: it goes on, and this was all of its output so far. Of sessions only. */
  detached: 0x18,
} as const;

/** Bytes of stdin that may be under way before the guest's first `stdin-window`. */
export const STDIN_WINDOW_BYTES = 512 * 1024;

/** By their numbers on every architecture that banger runs on. */
export const SIGNALS = {
  SIGHUP: 1,
  SIGINT: 2,
  SIGQUIT: 3,
  SIGABRT: 6,
  SIGKILL: 9,
  SIGUSR1: 10,
  SIGUSR2: 12,
  SIGALRM: 14,
  SIGTERM: 15,
  SIGCONT: 18,
  SIGSTOP: 19,
  SIGTSTP: 20,
  SIGWINCH: 28,
} as const;

export type SignalName = keyof typeof SIGNALS;

export interface TerminalSize {
  /** 1 to 65535 */
  readonly rows: number;
  readonly columns: number;
}

export interface Terminal extends TerminalSize {
  /** `TERM` */
  readonly term: string;
}

export interface ExecStart {
  /** Program and arguments; empty for the user's login shell. A program without "/" is looked for in PATH. */
  readonly argv: readonly string[];
  /** `name`, `uid`, `name:group` or `uid:gid`; default: the image's own. */
  readonly user?: string;
  /** Absolute; default: the image's own, or the user's home. */
  readonly cwd?: string;
  /** Over the guest's own defaults. */
  readonly env?: Readonly<Record<string, string>>;
  /** Absent: pipes. */
  readonly terminal?: Terminal;
  /** Of pipes only: stdin is empty and no `stdin` frame follows. */
  readonly stdinClosed?: boolean;
}

/** Linux's own cap on one argument or variable (MAX_ARG_STRLEN). */
const MAX_STRING_BYTES = 128 * 1024;
const MAX_USER_LENGTH = 256;
const MAX_STRINGS = 16 * 1024;

/** @throws {BangerError} `invalid_argument` naming the field */
export function parseExecStart(value: unknown): ExecStart {
  const start = asRecord(value, "the whole");
  return {
    argv: asList(start.argv, "argv").map((text) => asCString(text, "argv")),
    ...(start.user === undefined ? {} : { user: parseUser(start.user) }),
    ...(start.cwd === undefined ? {} : { cwd: parseCwd(start.cwd) }),
    ...(start.env === undefined ? {} : { env: parseEnvironment(start.env) }),
    ...(start.terminal === undefined ? {} : { terminal: parseTerminal(start.terminal) }),
    ...(start.stdinClosed === true ? { stdinClosed: true } : {}),
  };
}

function parseUser(value: unknown): string {
  const user = asCString(value, "user");
  if (user !== "" && user.length <= MAX_USER_LENGTH) return user;
  throw wrongField("user", user === "" ? "it is empty" : "it is too long");
}

function parseCwd(value: unknown): string {
  const cwd = asCString(value, "cwd");
  if (cwd.startsWith("/")) return cwd;
  throw wrongField("cwd", "it is not absolute");
}

function parseEnvironment(value: unknown): Record<string, string> {
  const entries = Object.entries(asRecord(value, "env"));
  if (entries.length > MAX_STRINGS) throw wrongField("env", "it is too long");
  for (const [name, text] of entries) {
    if (name === "" || name.includes("=") || name.includes("\0")) {
      throw wrongField("env", "a name is no name");
    }
    asCString(text, "env");
  }
  return Object.fromEntries(entries) as Record<string, string>;
}

function parseTerminal(value: unknown): Terminal {
  const { rows, columns, term } = asRecord(value, "terminal");
  if (!isTerminalSide(rows) || !isTerminalSide(columns)) throw wrongField("terminal", "its size is no size");
  if (typeof term !== "string" || !/^[A-Za-z0-9][A-Za-z0-9+._-]{0,63}$/.test(term)) {
    throw wrongField("terminal", "its type is no terminal type");
  }
  return { rows, columns, term };
}

/** @returns the payload of a `resize` frame */
export function encodeTerminalSize({ rows, columns }: TerminalSize): Uint8Array {
  const payload = new Uint8Array(4);
  const view = new DataView(payload.buffer);
  view.setUint16(0, rows);
  view.setUint16(2, columns);
  return payload;
}

/** @throws {BangerError} `corrupt_data` */
export function parseTerminalSize(payload: Uint8Array): TerminalSize {
  const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
  const [rows, columns] = payload.length === 4 ? [view.getUint16(0), view.getUint16(2)] : [0, 0];
  if (isTerminalSide(rows) && isTerminalSide(columns)) return { rows, columns };
  throw new BangerError("corrupt_data", "Cannot read a terminal's size");
}

/** @throws {BangerError} `corrupt_data` */
export function parseSignalName(payload: Uint8Array): SignalName {
  const name = payload.length <= 16 ? new TextDecoder().decode(payload) : "";
  if (Object.hasOwn(SIGNALS, name)) return name as SignalName;
  throw new BangerError("corrupt_data", "Cannot read a signal's name");
}

/** @returns the payload of a `stdin-window` frame */
export function encodeWindow(bytes: number): Uint8Array {
  const payload = new Uint8Array(4);
  new DataView(payload.buffer).setUint32(0, bytes);
  return payload;
}

/** @throws {BangerError} `corrupt_data` */
export function parseWindow(payload: Uint8Array): number {
  if (payload.length !== 4) throw new BangerError("corrupt_data", "Cannot read a window's size");
  return new DataView(payload.buffer, payload.byteOffset, 4).getUint32(0);
}

/** How a command ended. */
export type ExitStatus = { readonly code: number } | { readonly signal: number };

/** As shells tell it: 128 + signal where a signal ended it. */
export function exitCodeOf(status: ExitStatus): number {
  return "code" in status ? status.code : 128 + status.signal;
}

/** @throws {BangerError} `corrupt_data` */
export function parseExitStatus(payload: Uint8Array): ExitStatus {
  const { code, signal } = parseGuestJson(payload, "a command's end");
  if (isIntegerWithin(code, 0, 255)) return { code };
  if (isIntegerWithin(signal, 1, 127)) return { signal };
  throw new BangerError("corrupt_data", "Cannot read a command's end from the guest");
}

/** A command that could not start; `exitCode` as a shell would give it. */
export interface ExecFailure {
  readonly error: ErrorBody;
  /** 127 not found, 126 not executable, 125 else */
  readonly exitCode: number;
}

/** @throws {BangerError} `corrupt_data` */
export function parseExecFailure(payload: Uint8Array): { error: BangerError; exitCode: number } {
  const { error, exitCode } = parseGuestJson(payload, "a command's failure");
  if (!isIntegerWithin(exitCode, 1, 255)) {
    throw new BangerError("corrupt_data", "Cannot read a command's failure from the guest");
  }
  return {
    error: errorOfGuest(error, "Cannot start the command: the guest does not say why"),
    exitCode,
  };
}

/** @throws {BangerError} `corrupt_data` */
export function parseStartedPid(payload: Uint8Array): number {
  const { pid } = parseGuestJson(payload, "a command's pid");
  if (isIntegerWithin(pid, 1, 2 ** 31 - 1)) return pid;
  throw new BangerError("corrupt_data", "Cannot read a command's pid from the guest");
}

/**
 * @param what completes "Cannot read …"
 * @throws {BangerError} `corrupt_data` where it is no JSON object
 */
export function parseGuestJson(payload: Uint8Array, what: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder().decode(payload));
  } catch (cause) {
    throw new BangerError("corrupt_data", `Cannot read ${what} from the guest: it is no JSON`, undefined, {
      cause,
    });
  }
  if (typeof value === "object" && value !== null && !Array.isArray(value)) {
    return value as Record<string, unknown>;
  }
  throw new BangerError("corrupt_data", `Cannot read ${what} from the guest: it is no object`);
}

function isTerminalSide(value: unknown): value is number {
  return isIntegerWithin(value, 1, 65535);
}

function isIntegerWithin(value: unknown, least: number, most: number): value is number {
  return typeof value === "number" && Number.isInteger(value) && value >= least && value <= most;
}

function asRecord(value: unknown, field: string): Record<string, unknown> {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) {
    return value as Record<string, unknown>;
  }
  throw wrongField(field, "it is no object");
}

function asList(value: unknown, field: string): unknown[] {
  if (!Array.isArray(value)) throw wrongField(field, "it is no list");
  if (value.length > MAX_STRINGS) throw wrongField(field, "it is too long");
  return value;
}

function asCString(value: unknown, field: string): string {
  if (typeof value !== "string") throw wrongField(field, "it is no text");
  if (value.includes("\0")) throw wrongField(field, "it has a NUL character");
  if (value.length > MAX_STRING_BYTES) throw wrongField(field, "it is longer than Linux takes");
  return value;
}

function wrongField(field: string, why: string): BangerError {
  return new BangerError("invalid_argument", `Cannot run a command with this ${field}: ${why}`);
}
