import { BangerError } from "../base/errors.ts";
import type { ByteString } from "../base/tree.ts";
import { quoteBytes } from "../base/tree_paths.ts";
import type { NodeAttributes, TreeWriter } from "../base/tree_writer.ts";
import type { EntrySource, TarEntry } from "../oci/tar/entry.ts";

/** Remembered until the end, since their modes may forbid writing below them. */
const MAX_DIRECTORIES = 1_000_000;
/** setuid, setgid, sticky: nothing of a guest's runs with more rights than who runs it. */
const SPECIAL_BITS = 0o7000;

export interface ReceiveOptions {
  /** The one name at the archive's top, or `.` where the content of a directory comes. */
  readonly top: ByteString;
  /** Where that goes, below the writer's directory; `.` for the directory itself. */
  readonly into: ByteString;
  /** Whether directories that are there are filled, and files in them replaced. */
  readonly merges: boolean;
  /** Whether owners are kept, by number. */
  readonly keepsOwners: boolean;
}

export interface Received {
  files: number;
  directories: number;
  symlinks: number;
  bytes: number;
  /** Devices, pipes and sockets: not made. */
  skipped: number;
  /** Files whose setuid or setgid bit was dropped. */
  stripped: number;
  /** Symlinks that lead out of what was copied. */
  leaving: number;
}

/**
 * Writes what a guest's archive holds below a directory. The archive is hostile: absolute names, `..`, names above
 * the one that was asked for and ways through symlinks are refused, and the writer's kernel refuses them once more.
 *
 * @throws {BangerError} `corrupt_data` for such an archive; what the writer throws
 */
export async function receiveTree(
  archive: EntrySource,
  writer: TreeWriter,
  options: ReceiveOptions,
): Promise<Received> {
  const received: Received = {
    files: 0,
    directories: 0,
    symlinks: 0,
    bytes: 0,
    skipped: 0,
    stripped: 0,
    leaving: 0,
  };
  const made: { path: ByteString; attributes: NodeAttributes }[] = [];
  for (let entry = await archive.nextEntry(); entry; entry = await archive.nextEntry()) {
    const names = checkedNames(entry.path, options.top);
    const path = joined(options.into, names);
    const attributes = attributesOf(entry, options);
    if (entry.attributes.mode & SPECIAL_BITS && entry.kind === "file") received.stripped++;
    switch (entry.kind) {
      case "directory":
        if (makeDirectory(writer, path, options.merges, made)) made.push({ path, attributes });
        received.directories++;
        break;
      case "file":
        received.bytes += await writeFile(archive, writer, path, attributes);
        received.files++;
        break;
      case "symlink":
        makeWay(writer, path);
        writer.makeSymlink(path, entry.linkTarget, attributes);
        received.symlinks++;
        if (leadsOut(names, entry.linkTarget)) received.leaving++;
        break;
      case "hard-link":
        linkFile(writer, joined(options.into, checkedNames(entry.linkTarget, options.top)), path);
        received.files++;
        break;
      default:
        received.skipped++;
    }
  }
  for (const { path, attributes } of made.reverse()) writer.finishDirectory(path, attributes);
  return received;
}

/** @returns the names below the top; none for the top itself */
function checkedNames(path: ByteString, top: ByteString): ByteString[] {
  const names = path.split("/").filter((name) => name !== "" && name !== ".") as ByteString[];
  const isOutside = path.startsWith("/") || names.includes(".." as ByteString) || path.includes("\0");
  if (isOutside) throw hostile(path, "it leads outside");
  if (top === ".") return names;
  if (names[0] !== top) throw hostile(path, "nobody asked for it");
  return names.slice(1);
}

function joined(into: ByteString, names: readonly ByteString[]): ByteString {
  const all = into === "." ? names : [into, ...names];
  return (all.length === 0 ? "." : all.join("/")) as ByteString;
}

function attributesOf({ attributes }: TarEntry, { keepsOwners }: ReceiveOptions): NodeAttributes {
  const { mode, mtime, uid, gid } = attributes;
  return {
    mode: mode & 0o777,
    mtimeSeconds: mtime.seconds,
    owner: keepsOwners ? { uid, gid } : undefined,
  };
}

/** @returns whether it was made here, and gets its mode at the end */
function makeDirectory(
  writer: TreeWriter,
  path: ByteString,
  merges: boolean,
  made: readonly unknown[],
): boolean {
  const kind = path === "." ? "directory" : writer.kind(path);
  // One that comes twice, or was there before.
  if (kind === "directory") return false;
  if (kind !== undefined && !merges) throw hostile(path, "it comes twice");
  if (kind !== undefined) throw inTheWay(path, "a directory", "a file");
  if (made.length >= MAX_DIRECTORIES) {
    throw hostile(path, `there are more than ${MAX_DIRECTORIES} directories`);
  }
  writer.makeDirectory(path);
  return true;
}

/**
 * Under another name until it is whole: who looks sees the old file or the new one.
 *
 * @returns bytes
 */
async function writeFile(
  archive: EntrySource,
  writer: TreeWriter,
  path: ByteString,
  attributes: NodeAttributes,
): Promise<number> {
  if (writer.kind(path) === "directory") throw inTheWay(path, "a file", "a directory");
  const slash = path.lastIndexOf("/") + 1;
  const temporary = `${path.slice(0, slash)}.banger-cp-${crypto.randomUUID().slice(0, 8)}` as ByteString;
  try {
    let bytes = 0;
    using file = writer.createFile(temporary);
    for (let chunk = await archive.nextChunk(); chunk; chunk = await archive.nextChunk()) {
      file.write(chunk);
      bytes += chunk.length;
    }
    file.finish(attributes);
    writer.rename(temporary, path);
    return bytes;
  } catch (thrown) {
    writer.removeFile(temporary);
    throw thrown;
  }
}

/** Removes the file or symlink that another one replaces. */
function makeWay(writer: TreeWriter, path: ByteString): void {
  const kind = writer.kind(path);
  if (kind === "directory") throw inTheWay(path, "a file", "a directory");
  if (kind !== undefined) writer.removeFile(path);
}

function linkFile(writer: TreeWriter, existing: ByteString, path: ByteString): void {
  if (writer.kind(existing) !== "file") throw hostile(path, "it is a second name of what is no file");
  if (existing === path) return;
  makeWay(writer, path);
  writer.link(existing, path);
}

/** @param names of the symlink below the top, whose own name is the last */
function leadsOut(names: readonly ByteString[], target: ByteString): boolean {
  if (target.startsWith("/")) return true;
  let depth = names.length - 1;
  for (const part of target.split("/")) {
    if (part === "..") depth--;
    else if (part !== "" && part !== ".") depth++;
    if (depth < 0) return true;
  }
  return false;
}

function hostile(path: ByteString, why: string): BangerError {
  return new BangerError("corrupt_data", `Cannot copy ${quoteBytes(path)} out of the guest: ${why}`);
}

function inTheWay(path: ByteString, wanted: string, there: string): BangerError {
  return new BangerError(
    "already_exists",
    `Cannot copy ${quoteBytes(path)}: it is ${wanted}, and ${there} of that name is there already`,
    "Remove that, or copy to another place",
  );
}
