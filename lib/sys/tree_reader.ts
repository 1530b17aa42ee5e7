import { BangerError } from "../base/errors.ts";
import { type ByteString, byteString } from "../base/tree.ts";
import { quoteBytes } from "../base/tree_paths.ts";
import type { TreeFile, TreeReader } from "../base/tree_reader.ts";
import { checked, cString, libc, O_CLOEXEC, O_RDONLY } from "./libc.ts";
import { O_DIRECTORY, O_NOFOLLOW, O_PATH, openBeneath, statOf } from "./open_beneath.ts";
import { osError, SystemCallError } from "./os_errors.ts";

const O_NONBLOCK = 0o4000;
const MAX_LINK_BYTES = 4096;
const EMPTY = new Uint8Array(1);
/** Nothing is there; or what should be a directory on the way is a file or a symlink. */
const ABSENT = new Set(["ENOENT", "ENOTDIR", "ELOOP", "EXDEV"]);

/**
 * Opens a directory of the host for reading what lies in it.
 *
 * @throws {BangerError} `not_found`; `host_unsupported` on kernels before 5.6
 * Source: openat2(2), statx(2)
 */
export function openTree(root: string): TreeReader {
  const descriptor = attempt(
    root,
    () => checked("open", libc().open(cString(root), O_PATH | O_DIRECTORY | O_CLOEXEC, 0)),
  );
  let isOpen = true;
  const at = <T>(path: ByteString, flags: number, act: (descriptor: number) => T): T => {
    const opened = openBeneath(descriptor, path, flags);
    try {
      return act(opened);
    } finally {
      libc().close(opened);
    }
  };
  return {
    find(path) {
      try {
        return at(path, O_PATH | O_NOFOLLOW, statOf);
      } catch (thrown) {
        if (thrown instanceof SystemCallError && ABSENT.has(thrown.code)) return undefined;
        throw failure(path, thrown);
      }
    },
    readLink: (path) => attempt(path, () => at(path, O_PATH | O_NOFOLLOW, readLink)),
    open: (path) => attempt(path, () => openFile(descriptor, path)),
    [Symbol.dispose]() {
      if (isOpen) libc().close(descriptor);
      isOpen = false;
    },
  };
}

function attempt<T>(path: string, act: () => T): T {
  try {
    return act();
  } catch (thrown) {
    throw failure(path, thrown);
  }
}

function failure(path: string, thrown: unknown): BangerError {
  if (thrown instanceof SystemCallError && thrown.code === "ENOSYS") {
    return new BangerError(
      "host_unsupported",
      "Cannot read a directory safely: this kernel has no openat2",
      "Use Linux 5.6 or newer",
    );
  }
  return osError(`read ${quoteBytes(path as ByteString)}`, thrown);
}

function readLink(descriptor: number): ByteString {
  const buffer = new Uint8Array(MAX_LINK_BYTES);
  const length = checked(
    "readlinkat",
    libc().readlinkat(descriptor, EMPTY, buffer, BigInt(buffer.length)),
  );
  return byteString(buffer.subarray(0, length));
}

function openFile(directory: number, path: ByteString): TreeFile {
  // A pipe's other end is not waited for: what it is shows only once it is open.
  const descriptor = openBeneath(directory, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  let isOpen = true;
  const close = () => {
    if (isOpen) libc().close(descriptor);
    isOpen = false;
  };
  try {
    const stat = statOf(descriptor);
    if (stat.kind !== "file") {
      throw new BangerError("wrong_state", `Cannot read ${quoteBytes(path)}: it is no regular file`);
    }
    return {
      stat,
      read: (into) =>
        checked("read", libc().read(descriptor, into as Uint8Array<ArrayBuffer>, BigInt(into.length))),
      [Symbol.dispose]: close,
    };
  } catch (thrown) {
    close();
    throw thrown;
  }
}
