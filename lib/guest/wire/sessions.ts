/**
 * Sessions: commands that belong to the guest's agent, not to a client.
 *
 * | request                               | body           | answer                                          |
 * | ------------------------------------- | -------------- | ----------------------------------------------- |
 * | `POST /v1/sessions`                   | `SessionStart` | 200, `SessionView`                              |
 * | `GET /v1/sessions`                    |                | 200, `{sessions: SessionView[]}`, oldest first  |
 * | `POST /v1/sessions/attach?name=N`     | frames         | 200, frames of `exec.ts`: what was printed, then |
 * |                                       |                | what is, then `exited` or `failed`              |
 * | `POST /v1/sessions/stdin?name=N`      | bytes          | 204 once the command's stdin has taken them     |
 * | `POST /v1/sessions/stop?name=N`       |                | 200, `SessionView` once it has ended            |
 * | `POST /v1/sessions/remove?name=N`     |                | 204                                             |
 *
 * `attach` takes `tail=BYTES` (of what was printed, default all that is kept) and `follow=0` (end with what was
 * printed). Its client may send `stdin` and `resize`; a client that goes detaches. `stdin` takes `end=1`: the
 * end of the body is the end of the command's stdin. What one of its requests sends stays together.
 */
import { BangerError } from "../../base/errors.ts";
import { quote } from "../../base/names.ts";
import { type ExecStart, type ExitStatus, parseExecStart, parseGuestJson } from "./exec.ts";
import { cleanGuestText } from "./guest_text.ts";

/** What is kept of a session's output, in the guest. */
export const SESSION_OUTPUT_BYTES = 8 * 1024 * 1024;
/** Kept in a guest; of more, those go first that ended first. */
export const MAX_SESSIONS = 64;
/** Of one `stdin` request. */
export const MAX_SEND_BYTES = 256 * 1024;
/** Of a list of sessions. */
export const MAX_SESSIONS_BYTES = 4 * 1024 * 1024;
const MAX_SHOWN_ARGUMENTS_LENGTH = 2000;

/** A session's name is its directory's, too. */
const SESSION_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/;

export interface SessionStart extends ExecStart {
  /** Default: made from the program's name. */
  readonly name?: string;
}

/** `lost`: its agent or its machine went before it ended. */
export type SessionState = "running" | "exited" | "lost";

export interface SessionView {
  readonly name: string;
  readonly state: SessionState;
  /** For reading: arguments joined by spaces, cut where they are long. */
  readonly command: string;
  readonly cwd: string;
  readonly user: string;
  readonly hasTerminal: boolean;
  /** In the guest; of a session that ended, another process may have it. */
  readonly pid: number;
  /** ISO 8601, by the guest's clock. */
  readonly startedAt: string;
  readonly endedAt?: string;
  readonly exit?: ExitStatus;
  /** Kept; `lostBytes` were printed before them and are gone. */
  readonly outputBytes: number;
  readonly lostBytes: number;
  readonly attachedClients: number;
}

/** @throws {BangerError} `invalid_argument` */
export function parseSessionName(text: unknown): string {
  if (typeof text === "string" && SESSION_NAME.test(text)) return text;
  throw new BangerError(
    "invalid_argument",
    `Cannot use ${quote(String(text))} as a session's name`,
    "Use up to 63 letters, digits, dots, hyphens and underscores; begin with a letter or digit",
  );
}

/** @throws {BangerError} `invalid_argument` naming the field */
export function parseSessionStart(value: unknown): SessionStart {
  const start = parseExecStart(value);
  const { name } = value as { name?: unknown };
  return name === undefined ? start : { ...start, name: parseSessionName(name) };
}

export function shownCommand(argv: readonly string[]): string {
  const text = argv.join(" ");
  return text.length > MAX_SHOWN_ARGUMENTS_LENGTH ? `${text.slice(0, MAX_SHOWN_ARGUMENTS_LENGTH)}…` : text;
}

/**
 * @param payload from the guest: texts are cleaned, so they can be shown
 * @throws {BangerError} `corrupt_data`
 */
export function parseSessionView(payload: Uint8Array): SessionView {
  return viewOf(parseGuestJson(payload, "a session"));
}

/** @throws {BangerError} `corrupt_data` */
export function parseSessionList(payload: Uint8Array): SessionView[] {
  const { sessions } = parseGuestJson(payload, "the sessions");
  if (!Array.isArray(sessions) || sessions.length > 2 * MAX_SESSIONS) throw wrong("list");
  return sessions.map((session: unknown) => {
    if (typeof session !== "object" || session === null) throw wrong("list");
    return viewOf(session as Record<string, unknown>);
  });
}

function viewOf(value: Record<string, unknown>): SessionView {
  const { name, state, exit, endedAt, hasTerminal } = value;
  if (typeof name !== "string" || !SESSION_NAME.test(name)) throw wrong("name");
  if (state !== "running" && state !== "exited" && state !== "lost") throw wrong("state");
  return {
    name,
    state,
    command: textOf(value.command, "command"),
    cwd: textOf(value.cwd, "cwd"),
    user: textOf(value.user, "user"),
    hasTerminal: hasTerminal === true,
    pid: countOf(value.pid, "pid"),
    startedAt: timeOf(value.startedAt, "startedAt"),
    ...(endedAt === undefined ? {} : { endedAt: timeOf(endedAt, "endedAt") }),
    ...(exit === undefined ? {} : { exit: exitOf(exit) }),
    outputBytes: countOf(value.outputBytes, "outputBytes"),
    lostBytes: countOf(value.lostBytes, "lostBytes"),
    attachedClients: countOf(value.attachedClients, "attachedClients"),
  };
}

function exitOf(value: unknown): ExitStatus {
  const { code, signal } = (typeof value === "object" && value !== null ? value : {}) as Record<
    string,
    unknown
  >;
  if (typeof code === "number" && Number.isInteger(code) && code >= 0 && code <= 255) return { code };
  if (typeof signal === "number" && Number.isInteger(signal) && signal > 0 && signal < 128) return { signal };
  throw wrong("exit");
}

function textOf(value: unknown, field: string): string {
  if (typeof value !== "string" || value.length > 8192) throw wrong(field);
  return cleanGuestText(value);
}

function countOf(value: unknown, field: string): number {
  if (typeof value === "number" && Number.isSafeInteger(value) && value >= 0) return value;
  throw wrong(field);
}

function timeOf(value: unknown, field: string): string {
  if (typeof value === "string" && /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/.test(value)) return value;
  throw wrong(field);
}

function wrong(field: string): BangerError {
  return new BangerError("corrupt_data", `Cannot use what the guest says of a session: its ${field}`);
}
