/**
 * Paths inside an in-memory tree: looked up, made and removed the way a kernel would with the tree's root
 * as its root directory. Nothing here ever asks the host's file system, so no path of an image can leave
 * the image.
 */
import { BangerError } from "./errors.ts";
import { quote } from "./names.ts";
import {
  type Attributes,
  type ByteString,
  type ContentSink,
  type DirectoryInode,
  displayText,
  emptyDirectory,
  type Inode,
  rootOwned,
  type StoredContent,
} from "./tree.ts";

/** As Linux: path_resolution(7), MAXSYMLINKS. */
const MAX_SYMLINK_HOPS = 40;

/**
 * The names of a path, `.` and `..` resolved by text alone; `..` at the top stays at the top. For names
 * of archive entries and for paths of ours, never for symlink targets.
 */
export function cleanPath(path: ByteString): ByteString[] {
  const names: ByteString[] = [];
  for (const part of path.split("/")) {
    if (part === "" || part === ".") continue;
    if (part === "..") names.pop();
    else names.push(part as ByteString);
  }
  return names;
}

/** How a walk ended: directories that exist, and the names that it would take to make the rest. */
interface Walk {
  /** From the root to the deepest directory that exists. */
  readonly existing: DirectoryInode[];
  readonly missing: ByteString[];
}

/**
 * Follows every name, symlinks included, inside `root`.
 *
 * @throws {BangerError} `corrupt_data` for a symlink loop, or where a name inside is no directory
 */
function walk(root: DirectoryInode, names: readonly ByteString[]): Walk {
  const existing = [root];
  const missing: ByteString[] = [];
  const pending = names.toReversed();
  let hops = 0;
  while (pending.length > 0) {
    const name = pending.pop() as ByteString;
    if (name === "" || name === ".") continue;
    if (name === "..") {
      if (missing.length > 0) missing.pop();
      else if (existing.length > 1) existing.pop();
      continue;
    }
    const inode = missing.length > 0 ? undefined : existing.at(-1)!.entries.get(name);
    if (inode === undefined) missing.push(name);
    else if (inode.kind === "directory") existing.push(inode);
    else if (inode.kind === "symlink") {
      if (++hops > MAX_SYMLINK_HOPS) throw tooManyLinks(names);
      if (inode.target.startsWith("/")) existing.length = 1;
      for (const part of inode.target.split("/").toReversed()) pending.push(part as ByteString);
    } else throw notADirectory(names, name);
  }
  return { existing, missing };
}

function tooManyLinks(names: readonly ByteString[]): BangerError {
  return new BangerError(
    "corrupt_data",
    `Cannot resolve ${quotePath(names)} in the image: more than ${MAX_SYMLINK_HOPS} symbolic links (a loop?)`,
  );
}

function notADirectory(names: readonly ByteString[], name: ByteString): BangerError {
  return new BangerError(
    "corrupt_data",
    `Cannot resolve ${quotePath(names)} in the image: ${quoteBytes(name)} is no directory`,
  );
}

function quotePath(names: readonly ByteString[]): string {
  return quoteBytes(`/${names.join("/")}` as ByteString);
}

/**
 * The directory that `names` lead to, symlinks followed.
 *
 * @returns undefined where something is missing
 * @throws {BangerError} `corrupt_data` for a symlink loop, or where a name is no directory
 */
export function findDirectory(
  root: DirectoryInode,
  names: readonly ByteString[],
): DirectoryInode | undefined {
  const { existing, missing } = walk(root, names);
  return missing.length === 0 ? existing.at(-1) : undefined;
}

/**
 * The directory that `names` lead to, symlinks followed (dangling ones too: their target is made), with
 * what is missing made by `make`.
 *
 * @returns the directories from the root to it, never empty
 * @throws {BangerError} `corrupt_data` for a symlink loop, or where a name is no directory
 */
export function makeDirectories(
  root: DirectoryInode,
  names: readonly ByteString[],
  make: () => DirectoryInode = emptyDirectory,
): DirectoryInode[] {
  const { existing: chain, missing } = walk(root, names);
  for (const name of missing) {
    const made = make();
    chain.at(-1)!.entries.set(name, made);
    chain.push(made);
  }
  return chain;
}

/**
 * What a path names. Symlinks are followed inside `root`, the last one too unless told otherwise.
 *
 * @param path absolute or not: both start at `root`
 * @returns undefined where there is nothing, also behind what is no directory
 * @throws {BangerError} `corrupt_data` for a symlink loop
 */
export function lookup(
  root: DirectoryInode,
  path: ByteString,
  { followLast = true }: { followLast?: boolean } = {},
): Inode | undefined {
  const pending = path.split("/").reverse() as ByteString[];
  const stack = [root];
  let hops = 0;
  let found: Inode = root;
  while (pending.length > 0) {
    const name = pending.pop()!;
    if (found.kind !== "directory") return undefined;
    if (name === "" || name === ".") continue;
    if (name === "..") {
      if (stack.length > 1) stack.pop();
      found = stack.at(-1)!;
      continue;
    }
    const inode: Inode | undefined = found.entries.get(name);
    if (inode === undefined) return undefined;
    if (inode.kind === "symlink" && (followLast || pending.length > 0)) {
      if (++hops > MAX_SYMLINK_HOPS) throw tooManyLinks([path]);
      if (inode.target.startsWith("/")) stack.length = 1;
      found = stack.at(-1)!;
      for (const part of inode.target.split("/").reverse()) pending.push(part as ByteString);
    } else {
      found = inode;
      if (inode.kind === "directory") stack.push(inode);
    }
  }
  return found;
}

/**
 * The directory at `path`, made with its parents where it is missing. One that exists keeps its attributes.
 *
 * @throws {BangerError} `corrupt_data` for a symlink loop, or where a name is no directory
 */
export function ensureDirectory(
  root: DirectoryInode,
  path: ByteString,
  attributes: Attributes = rootOwned(0o755),
): DirectoryInode {
  return makeDirectories(root, cleanPath(path), () => ({
    kind: "directory",
    attributes: { ...attributes },
    entries: new Map(),
  })).at(-1)!;
}

/**
 * Puts an inode at `path`: symlinks before the last name are followed, missing parents are made (0755,
 * root's), and whatever has the last name already is replaced.
 *
 * @throws {BangerError} `invalid_argument` for the root itself; `corrupt_data` as `ensureDirectory`
 * Exported for tests.
 */
export function insert<I extends Inode>(root: DirectoryInode, path: ByteString, inode: I): I {
  const names = cleanPath(path);
  const name = names.pop();
  if (name === undefined) {
    throw new BangerError("invalid_argument", "Cannot replace the root directory of a tree");
  }
  makeDirectories(root, names).at(-1)!.entries.set(name, inode);
  return inode;
}

/** A file at `path`; see `insert`. */
export function insertFile(
  root: DirectoryInode,
  path: ByteString,
  content: StoredContent,
  attributes: Attributes = rootOwned(0o644),
): void {
  insert(root, path, { kind: "file", attributes, content });
}

/** A symlink at `path`; see `insert`. */
export function insertSymlink(
  root: DirectoryInode,
  path: ByteString,
  target: ByteString,
  attributes: Attributes = rootOwned(0o777),
): void {
  insert(root, path, { kind: "symlink", attributes, target });
}

/** Removes what `path` names with all below it, a last symlink itself. @returns whether it was there */
export function removePath(root: DirectoryInode, path: ByteString): boolean {
  const names = cleanPath(path);
  const name = names.pop();
  return name !== undefined && findDirectory(root, names)?.entries.delete(name) === true;
}

/** Stores small content of ours in a sink. */
export async function storeBytes(sink: ContentSink, bytes: Uint8Array): Promise<StoredContent> {
  const writer = sink.begin();
  try {
    if (bytes.length > 0) await writer.write(bytes);
    return await writer.end();
  } catch (failure) {
    await writer.abort();
    throw failure;
  }
}

export interface TreeEntry {
  /** Absolute; `/` for the root. */
  readonly path: ByteString;
  readonly inode: Inode;
}

/**
 * Every entry, a directory before what is in it, names in byte order. Depth costs no call stack.
 * Exported for tests.
 */
export function* walkTree(root: DirectoryInode): Generator<TreeEntry> {
  const pending: TreeEntry[] = [{ path: "/" as ByteString, inode: root }];
  while (pending.length > 0) {
    const entry = pending.pop()!;
    yield entry;
    if (entry.inode.kind !== "directory") continue;
    const prefix = entry.path === "/" ? "/" : `${entry.path}/`;
    for (const name of [...entry.inode.entries.keys()].sort(byBytes).reverse()) {
      pending.push({ path: `${prefix}${name}` as ByteString, inode: entry.inode.entries.get(name)! });
    }
  }
}

/** Byte order, for `sort`: byte strings have one unit a byte, so their own order is it. */
function byBytes(a: ByteString, b: ByteString): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** A path for messages: quoted, safe on a terminal. */
export function quoteBytes(text: ByteString): string {
  return quote(displayText(text));
}
