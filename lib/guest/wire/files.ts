/**
 * One regular file into the guest or out of it, its bytes as they are: no process in the guest, no pipe, no archive.
 * Trees and everything else go as a tar through a command (`exec.ts`).
 *
 * ```text
 *   POST /v1/files/in?path=&name=&mode=&mtime=[&user=]
 *   host                                      guest
 *   head ────────────────────────────────────▶        refused: an error, and nothing was made
 *                   ◀───────────────────────── head   a new file beside its place is open
 *   bytes, chunked ──────────────────────────▶
 *                   ◀───────────────────────── {} once it is whole and in its place, or {error}
 *
 *   POST /v1/files/out?path=[&user=]
 *   head ────────────────────────────────────▶        refused: an error
 *                   ◀───────────────────────── head; one line of JSON (`FileOut`), then `sizeBytes` bytes
 * ```
 *
 * A body that ends before its last chunk is no whole file on either side.
 *
 * With `window=1`, and where the agent can read from the window of its config disk (`window.ts`), the answer's head
 * names that window, and the body tells of slots:
 *
 * ```text
 *   host, for each slot                       guest
 *   writes it to the config disk's file
 *   its length, u32 ─────────────────────────▶
 *                   ◀───────────────────────── a line's end, once it was read: the slot is free
 *
 *   at any time, where the window cannot be had or filled
 *   0, u32, then bytes as without a window ──▶
 * ```
 *
 * Slots come in their order. All but the last before a zero or the end are full. The body ends only once each was
 * read.
 */
import { BangerError } from "../../base/errors.ts";
import { errorOfGuest } from "./guest_text.ts";
import { parseGuestJson } from "./exec.ts";

/** Each path and name, so that the request stays within what a request's first line may have. */
const MAX_ENCODED_LENGTH = 3500;
/** Of the line in front of a file's bytes, and of the answer behind them. */
export const MAX_FILE_LINE_BYTES = 16 * 1024;
const MAX_MODE = 0o7777;

export interface FileIn {
  /** Relative to where the user's commands run. Of a directory: it goes in there as `name`. */
  readonly path: string;
  readonly name: string;
  /** 0 to 0o7777 */
  readonly mode: number;
  readonly mtimeSeconds: number;
  /** As of a command (`ExecStart`). */
  readonly user?: string;
  /** Whether the host would send it through the window. */
  readonly usesWindow?: boolean;
}

export interface FileOut {
  readonly sizeBytes: number;
  /** 0 to 0o7777 */
  readonly mode: number;
  readonly mtimeSeconds: number;
}

/** @returns the request's target; undefined where the path is too long for one */
export function fileInTarget(file: FileIn): string | undefined {
  const { path, name, mode, mtimeSeconds, user, usesWindow } = file;
  return target("in", {
    ...{ path, name, mode: `${mode}`, mtime: `${mtimeSeconds}` },
    ...(user ? { user } : {}),
    ...(usesWindow ? { window: "1" } : {}),
  });
}

/** @returns the request's target; undefined where the path is too long for one */
export function fileOutTarget(path: string, user: string | undefined): string | undefined {
  return target("out", { path, ...(user ? { user } : {}) });
}

function target(way: "in" | "out", query: Readonly<Record<string, string>>): string | undefined {
  const parts = Object.entries(query).map(([name, value]) => `${name}=${encodeURIComponent(value)}`);
  const text = `/v1/files/${way}?${parts.join("&")}`;
  return text.length <= MAX_ENCODED_LENGTH ? text : undefined;
}

/** @throws {BangerError} `invalid_argument` */
export function parseFileIn(query: URLSearchParams): FileIn {
  const name = query.get("name") ?? "";
  if (name === "" || name === "." || name === ".." || /[/\0]/.test(name)) throw wrong("name");
  return {
    ...parseFileOutRequest(query),
    name,
    mode: parseWhole(query, "mode", 0, MAX_MODE),
    mtimeSeconds: parseWhole(query, "mtime", Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER),
    ...(query.has("window") ? { usesWindow: true } : {}),
  };
}

/** @throws {BangerError} `invalid_argument` */
export function parseFileOutRequest(query: URLSearchParams): Pick<FileIn, "path" | "user"> {
  const path = query.get("path") ?? "";
  if (path === "" || path.includes("\0")) throw wrong("path");
  const user = query.get("user");
  return { path, ...(user === null ? {} : { user }) };
}

function parseWhole(query: URLSearchParams, name: string, least: number, most: number): number {
  const text = query.get(name) ?? "";
  const value = /^-?\d{1,16}$/.test(text) ? Number(text) : NaN;
  if (value >= least && value <= most) return value;
  throw wrong(name);
}

function wrong(field: string): BangerError {
  return new BangerError("invalid_argument", `Cannot copy a file with this ${field}`);
}

/** @param line of the guest. @throws {BangerError} `corrupt_data` */
export function parseFileOut(line: Uint8Array): FileOut {
  const { sizeBytes, mode, mtimeSeconds } = parseGuestJson(line, "a file's attributes");
  const isSize = Number.isSafeInteger(sizeBytes) && (sizeBytes as number) >= 0;
  const isMode = Number.isInteger(mode) && (mode as number) >= 0 && (mode as number) <= MAX_MODE;
  if (isSize && isMode && Number.isSafeInteger(mtimeSeconds)) {
    return { sizeBytes, mode, mtimeSeconds } as FileOut;
  }
  throw new BangerError("corrupt_data", "Cannot read a file's attributes from the guest");
}

/** @returns why the guest could not keep the file, if so. @throws {BangerError} `corrupt_data` */
export function parseFileInEnd(answer: Uint8Array): BangerError | undefined {
  const { error } = parseGuestJson(answer, "how a copy ended");
  return error === undefined ? undefined : errorOfGuest(error, "Cannot write the file in the guest");
}
