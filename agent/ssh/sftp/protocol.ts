/** The file transfer protocol, version 3. Source: draft-ietf-secsh-filexfer-02; openssh-portable PROTOCOL, section 4 */
import { EACCES, ENOENT, LibcError } from "../../libc.ts";
import type { SshReader, SshWriter } from "../wire.ts";
import type { FileAttributes } from "./file_calls.ts";

export const VERSION = 3;
/** As OpenSSH's own; told to clients that ask. */
export const MAX_MESSAGE_BYTES = 256 * 1024;

export const REQUEST = {
  init: 1,
  open: 3,
  close: 4,
  read: 5,
  write: 6,
  lstat: 7,
  fstat: 8,
  setstat: 9,
  fsetstat: 10,
  opendir: 11,
  readdir: 12,
  remove: 13,
  mkdir: 14,
  rmdir: 15,
  realpath: 16,
  stat: 17,
  rename: 18,
  readlink: 19,
  symlink: 20,
  extended: 200,
} as const;

export const ANSWER = {
  version: 2,
  status: 101,
  handle: 102,
  data: 103,
  name: 104,
  attrs: 105,
  extended: 201,
};

export const STATUS = {
  ok: 0,
  eof: 1,
  noSuchFile: 2,
  permissionDenied: 3,
  failure: 4,
  badMessage: 5,
  unsupported: 8,
} as const;

/** Flags of `open`. */
export const OPEN = { read: 1, write: 2, append: 4, create: 8, truncate: 16, exclusive: 32 } as const;

const ATTRIBUTE = { size: 1, owner: 2, mode: 4, times: 8, extended: 0x8000_0000 } as const;
const EPERM = 1;
const ENOSYS = 38;
const EOPNOTSUPP = 95;
const ERRORS: Readonly<Record<number, string>> = {
  [EPERM]: "not permitted",
  [ENOENT]: "no such file",
  [EACCES]: "permission denied",
  17: "it exists",
  20: "not a directory",
  21: "it is a directory",
  28: "no space left",
  30: "read-only file system",
  39: "the directory is not empty",
};

/** What a client wants to set. */
export interface WantedAttributes {
  readonly sizeBytes?: number;
  readonly owner?: { readonly uid: number; readonly gid: number };
  readonly mode?: number;
  readonly times?: { readonly accessedSeconds: number; readonly modifiedSeconds: number };
}

/** What becomes a status other than "ok". */
export class SftpFailure extends Error {
  constructor(readonly status: number, message: string) {
    super(message);
  }
}

export function parseAttributes(reader: SshReader): WantedAttributes {
  const flags = reader.u32();
  const wanted = {
    ...(flags & ATTRIBUTE.size ? { sizeBytes: reader.u64() } : {}),
    ...(flags & ATTRIBUTE.owner ? { owner: { uid: reader.u32(), gid: reader.u32() } } : {}),
    ...(flags & ATTRIBUTE.mode ? { mode: reader.u32() & 0o7777 } : {}),
    ...(flags & ATTRIBUTE.times
      ? { times: { accessedSeconds: reader.u32(), modifiedSeconds: reader.u32() } }
      : {}),
  };
  return wanted;
}

export function putAttributes(writer: SshWriter, attributes: FileAttributes): SshWriter {
  return writer
    .u32(ATTRIBUTE.size | ATTRIBUTE.owner | ATTRIBUTE.mode | ATTRIBUTE.times)
    .u64(attributes.sizeBytes).u32(attributes.uid).u32(attributes.gid).u32(attributes.mode)
    .u32(attributes.accessedSeconds).u32(attributes.modifiedSeconds);
}

export function statusOf(failure: unknown): { status: number; text: string } {
  if (failure instanceof SftpFailure) return { status: failure.status, text: failure.message };
  if (!(failure instanceof LibcError)) throw failure;
  const { errno } = failure;
  const text = ERRORS[errno] ?? `errno ${errno}`;
  if (errno === ENOENT) return { status: STATUS.noSuchFile, text };
  if (errno === EACCES || errno === EPERM) return { status: STATUS.permissionDenied, text };
  if (errno === ENOSYS || errno === EOPNOTSUPP) return { status: STATUS.unsupported, text };
  return { status: STATUS.failure, text };
}

const KINDS: Readonly<Record<number, string>> = {
  0o14: "s",
  0o12: "l",
  0o10: "-",
  0o6: "b",
  0o4: "d",
  0o2: "c",
  0o1: "p",
};
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const HALF_A_YEAR_SECONDS = 182 * 86_400;

/** A line of `ls -l` without the name, as clients show it. @param nowSeconds decides between hour and year */
export function longName(attributes: FileAttributes, nowSeconds: number): string {
  const { mode, links, uid, gid, sizeBytes, modifiedSeconds } = attributes;
  const date = new Date(modifiedSeconds * 1000);
  const two = (count: number) => String(count).padStart(2, "0");
  const isRecent = Math.abs(nowSeconds - modifiedSeconds) < HALF_A_YEAR_SECONDS;
  const when = isRecent
    ? `${two(date.getUTCHours())}:${two(date.getUTCMinutes())}`
    : ` ${date.getUTCFullYear()}`;
  return [
    permissionsText(mode),
    String(links).padStart(4),
    String(uid).padEnd(8),
    String(gid).padEnd(8),
    String(sizeBytes).padStart(8),
    MONTHS[date.getUTCMonth()],
    String(date.getUTCDate()).padStart(2),
    when,
  ].join(" ");
}

function permissionsText(mode: number): string {
  const letters = [..."rwxrwxrwx"].map((letter, i) => mode & (0o400 >> i) ? letter : "-");
  const special = (at: number, bit: number, letter: string) => {
    if (mode & bit) letters[at] = letters[at] === "x" ? letter : letter.toUpperCase();
  };
  special(2, 0o4000, "s");
  special(5, 0o2000, "s");
  special(8, 0o1000, "t");
  return `${KINDS[mode >> 12] ?? "?"}${letters.join("")}`;
}
