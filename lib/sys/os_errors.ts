import { BangerError, type ErrorCode, reasonOf } from "../base/errors.ts";

const CODES: Record<string, readonly [ErrorCode, string, string?]> = {
  ENOENT: ["not_found", "it does not exist"],
  ENOTDIR: ["not_found", "a part of its path is no directory"],
  EEXIST: ["already_exists", "it exists already"],
  EACCES: [
    "permission_denied",
    "permission denied",
    "Check the owner and mode of the path and of its parents",
  ],
  EPERM: [
    "permission_denied",
    "operation not permitted",
    "Check the owner and mode of the path and of its parents",
  ],
  EROFS: [
    "permission_denied",
    "the filesystem is read-only",
    "Set XDG_STATE_HOME and XDG_CACHE_HOME to writable places",
  ],
  ENOSPC: [
    "no_space",
    "no space left on the disk",
    "Free some space, or move XDG_STATE_HOME and XDG_CACHE_HOME",
  ],
  EDQUOT: [
    "no_space",
    "the disk quota is used up",
    "Free some space, or move XDG_STATE_HOME and XDG_CACHE_HOME",
  ],
  EIO: [
    "state_broken",
    "the disk reports an error",
    "See the disk's health: journalctl --dmesg",
  ],
  EMFILE: ["no_space", "too many files are open", "Raise the limit, then restart the daemon: ulimit -n"],
  ENFILE: ["no_space", "too many files are open on this host", "End what holds so many open"],
  ENOMEM: ["no_space", "the host is out of memory", "Stop some VMs, or give them less memory"],
  EFBIG: ["no_space", "the file is larger than the filesystem allows"],
  ECONNREFUSED: ["connection_failed", "nothing listens there"],
  ECONNRESET: ["connection_failed", "the other side closed the connection"],
  EPIPE: ["connection_failed", "the other side closed the connection"],
  EADDRINUSE: ["already_exists", "the address is in use"],
};

/** The system's name of a failure (`ENOSPC`), where Deno tells it. */
export function systemCode(thrown: unknown): string | undefined {
  if (thrown instanceof Error && "code" in thrown && typeof thrown.code === "string") return thrown.code;
  if (thrown instanceof Deno.errors.NotFound) return "ENOENT";
  if (thrown instanceof Deno.errors.AlreadyExists) return "EEXIST";
  if (thrown instanceof Deno.errors.PermissionDenied) return "EACCES";
  if (thrown instanceof Deno.errors.ConnectionRefused) return "ECONNREFUSED";
  return undefined;
}

/** @param action completes "Cannot …", such as `read /a/b` */
export function osError(action: string, thrown: unknown): BangerError {
  if (thrown instanceof BangerError) return thrown;
  const known = CODES[systemCode(thrown) ?? ""];
  if (!known) {
    return new BangerError("internal", `Cannot ${action}: ${reasonOf(thrown)}`, undefined, { cause: thrown });
  }
  const [code, why, hint] = known;
  return new BangerError(code, `Cannot ${action}: ${why}`, hint, { cause: thrown });
}

/** Names of the errno values that our own system calls may meet (Linux x86_64 and arm64). */
const ERRNO_NAMES: Record<number, string> = {
  1: "EPERM",
  2: "ENOENT",
  3: "ESRCH",
  4: "EINTR",
  5: "EIO",
  6: "ENXIO",
  9: "EBADF",
  11: "EAGAIN",
  13: "EACCES",
  16: "EBUSY",
  17: "EEXIST",
  18: "EXDEV",
  19: "ENODEV",
  20: "ENOTDIR",
  22: "EINVAL",
  24: "EMFILE",
  25: "ENOTTY",
  27: "EFBIG",
  28: "ENOSPC",
  30: "EROFS",
  38: "ENOSYS",
  40: "ELOOP",
  90: "EMSGSIZE",
  95: "EOPNOTSUPP",
  98: "EADDRINUSE",
  100: "ENETDOWN",
  105: "ENOBUFS",
  111: "ECONNREFUSED",
  122: "EDQUOT",
};

/** A failed system call, with `.code` as Deno's own errors have it. */
export class SystemCallError extends Error {
  readonly code: string;

  constructor(call: string, readonly errno: number) {
    const code = ERRNO_NAMES[errno] ?? `errno ${errno}`;
    super(`${call}: ${code}`);
    this.code = code;
  }
}
