import { type ByteString } from "../base/tree.ts";
import { quoteBytes } from "../base/tree_paths.ts";
import type { NodeAttributes, TreeFileWriter, TreeWriter } from "../base/tree_writer.ts";
import { checked, cString, libc, O_CLOEXEC, O_CREAT, O_EXCL, O_RDONLY, O_WRONLY } from "./libc.ts";
import { BangerError } from "../base/errors.ts";
import { osError, SystemCallError } from "./os_errors.ts";
import { byteCString, O_DIRECTORY, O_NOFOLLOW, O_PATH, openBeneath, statOf } from "./open_beneath.ts";

const AT_SYMLINK_NOFOLLOW = 0x100;
const AT_REMOVEDIR = 0x200;
const UTIME_OMIT = 0x3ffffffen;
const HERE = "." as ByteString;

/**
 * Opens a directory of the host for writing below it. The kernel keeps every path inside
 * (openat2, RESOLVE_BENEATH and RESOLVE_NO_SYMLINKS), whatever lies there or is put there meanwhile.
 *
 * @throws {BangerError} `not_found`; `host_unsupported` on kernels before 5.6
 */
export function openTreeWriter(root: string): TreeWriter {
  const descriptor = attempt(
    "open",
    root,
    () => checked("open", libc().open(cString(root), O_PATH | O_DIRECTORY | O_CLOEXEC, 0)),
  );
  let isOpen = true;
  const inParent = (verb: string, path: ByteString, act: ActInParent) =>
    withParent(descriptor, verb, path, act);
  return {
    kind: (path) => kindOf(descriptor, path),
    makeDirectory(path) {
      inParent(
        "make directory",
        path,
        (parent, name) => checked("mkdirat", libc().mkdirat(parent, name, 0o700)),
      );
    },
    createFile: (path) => createFile(descriptor, path),
    makeSymlink(path, target, attributes) {
      inParent("make", path, (parent, name) => {
        checked("symlinkat", libc().symlinkat(byteCString(target), parent, name));
        setOwner(parent, name, attributes);
        setTime(parent, name, attributes);
      });
    },
    link(existing, path) {
      const [from, to] = [{ verb: "link", path: existing }, { verb: "make", path }];
      inBothParents(descriptor, from, to, (fromParent, fromName, parent, name) => {
        checked("linkat", libc().linkat(fromParent, fromName, parent, name, 0));
      });
    },
    finishDirectory: (path, attributes) =>
      attempt("finish", quoteBytes(path), () => {
        const directory = openBeneath(descriptor, path, O_RDONLY | O_DIRECTORY);
        try {
          finish(directory, attributes);
        } finally {
          libc().close(directory);
        }
      }),
    rename(from, to) {
      const [old, wanted] = [{ verb: "move", path: from }, { verb: "replace", path: to }];
      inBothParents(descriptor, old, wanted, (fromParent, fromName, parent, name) => {
        checked("renameat", libc().renameat(fromParent, fromName, parent, name));
      });
    },
    removeFile(path) {
      inParent("remove", path, (parent, name) => removeName(parent, name, 0, ["ENOENT"]));
    },
    removeDirectory(path) {
      const kept = ["ENOENT", "ENOTEMPTY"];
      inParent("remove", path, (parent, name) => removeName(parent, name, AT_REMOVEDIR, kept));
    },
    [Symbol.dispose]() {
      if (isOpen) libc().close(descriptor);
      isOpen = false;
    },
  };
}

type ActInParent = (parent: number, name: Uint8Array<ArrayBuffer>) => void;

/** @param verb for the text of a failure */
function withParent(root: number, verb: string, path: ByteString, act: ActInParent): void {
  attempt(verb, quoteBytes(path), () => {
    const slash = path.lastIndexOf("/");
    const parentPath = slash < 0 ? HERE : path.slice(0, slash) as ByteString;
    const parent = openBeneath(root, parentPath, O_PATH | O_DIRECTORY);
    try {
      act(parent, byteCString(path.slice(slash + 1) as ByteString));
    } finally {
      libc().close(parent);
    }
  });
}

/** @param fine what may stand in its way */
function removeName(
  parent: number,
  name: Uint8Array<ArrayBuffer>,
  flags: number,
  fine: readonly string[],
): void {
  try {
    checked("unlinkat", libc().unlinkat(parent, name, flags));
  } catch (thrown) {
    if (!(thrown instanceof SystemCallError && fine.includes(thrown.code))) throw thrown;
  }
}

/** Two names, each of which its parent's descriptor keeps inside. */
function inBothParents(
  root: number,
  from: { verb: string; path: ByteString },
  to: { verb: string; path: ByteString },
  act: (
    fromParent: number,
    fromName: Uint8Array<ArrayBuffer>,
    parent: number,
    name: Uint8Array<ArrayBuffer>,
  ) => void,
): void {
  withParent(
    root,
    from.verb,
    from.path,
    (fromParent, fromName) =>
      withParent(root, to.verb, to.path, (parent, name) => act(fromParent, fromName, parent, name)),
  );
}

function kindOf(root: number, path: ByteString): ReturnType<TreeWriter["kind"]> {
  return attempt("look at", quoteBytes(path), () => {
    let opened: number;
    try {
      opened = openBeneath(root, path, O_PATH | O_NOFOLLOW);
    } catch (thrown) {
      if (thrown instanceof SystemCallError && thrown.code === "ENOENT") return undefined;
      throw thrown;
    }
    try {
      return statOf(opened).kind;
    } finally {
      libc().close(opened);
    }
  });
}

function createFile(root: number, path: ByteString): TreeFileWriter {
  const shown = quoteBytes(path);
  const descriptor = attempt(
    "make",
    shown,
    () => openBeneath(root, path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600),
  );
  let isOpen = true;
  return {
    write(bytes) {
      attempt("write", shown, () => {
        for (let at = 0; at < bytes.length;) {
          const rest = bytes.subarray(at) as Uint8Array<ArrayBuffer>;
          at += checked("write", libc().write(descriptor, rest, BigInt(rest.length)));
        }
      });
    },
    finish: (attributes) => attempt("finish", shown, () => finish(descriptor, attributes)),
    [Symbol.dispose]() {
      if (isOpen) libc().close(descriptor);
      isOpen = false;
    },
  };
}

/** The owner first: changing it would take mode bits away. */
function finish(descriptor: number, attributes: NodeAttributes): void {
  const { owner, mode } = attributes;
  if (owner) checked("fchown", libc().fchown(descriptor, owner.uid, owner.gid));
  checked("fchmod", libc().fchmod(descriptor, mode & 0o777));
  checked("futimens", libc().futimens(descriptor, times(attributes)));
}

function setOwner(parent: number, name: Uint8Array<ArrayBuffer>, { owner }: NodeAttributes): void {
  if (owner) checked("fchownat", libc().fchownat(parent, name, owner.uid, owner.gid, AT_SYMLINK_NOFOLLOW));
}

function setTime(parent: number, name: Uint8Array<ArrayBuffer>, attributes: NodeAttributes): void {
  checked("utimensat", libc().utimensat(parent, name, times(attributes), AT_SYMLINK_NOFOLLOW));
}

/** `struct timespec[2]`: the time of access stays. */
function times({ mtimeSeconds }: NodeAttributes): Uint8Array<ArrayBuffer> {
  return new Uint8Array(BigInt64Array.of(0n, UTIME_OMIT, BigInt(mtimeSeconds), 0n).buffer);
}

function attempt<T>(verb: string, shown: string, act: () => T): T {
  try {
    return act();
  } catch (thrown) {
    if (thrown instanceof SystemCallError && thrown.code === "ENOSYS") {
      throw new BangerError(
        "host_unsupported",
        "Cannot write a directory safely: this kernel has no openat2",
        "Use Linux 5.6 or newer",
      );
    }
    if (thrown instanceof SystemCallError && (thrown.code === "ELOOP" || thrown.code === "EXDEV")) {
      throw new BangerError("permission_denied", `Cannot ${verb} ${shown}: a symbolic link is on the way`);
    }
    throw osError(`${verb} ${shown}`, thrown);
  }
}
