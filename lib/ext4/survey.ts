import { BangerError } from "../base/errors.ts";
import { quote } from "../base/names.ts";
import {
  type Attributes,
  type ByteString,
  byteStringOfText,
  type DirectoryInode,
  displayText,
  type FileInode,
  type Inode,
  rootOwned,
  type Timestamp,
} from "../base/tree.ts";
import { directoryEntryBytes, maxDirectoryBlocks } from "./directory.ts";
import { extentTreeBlocks } from "./extents.ts";
import {
  BLOCKS_PER_GROUP,
  LOST_AND_FOUND_INODE,
  MAX_FAST_SYMLINK_BYTES,
  MAX_LINKS,
  MAX_NAME_BYTES,
  ROOT_INODE,
} from "./format.ts";
import { MAX_SECONDS, MIN_SECONDS } from "./inode.ts";
import { packXattrs } from "./xattr.ts";
import type { XattrBlocks } from "./xattr_blocks.ts";

const LOST_AND_FOUND = byteStringOfText("lost+found");
/** As mke2fs makes it: e2fsck fills it without having to allocate. */
export const LOST_AND_FOUND_BLOCKS = 4;
const MAX_SYMLINK_BYTES = 4095;

/** A tree with its inodes numbered and measured. */
export interface Survey {
  /** Copied where lost+found had to be added. */
  readonly root: DirectoryInode;
  /** The inode numbered `LOST_AND_FOUND_INODE + i` at i. */
  readonly inodes: readonly Inode[];
  readonly numberOf: ReadonlyMap<Inode, number>;
  /** Directory entries that point to an inode, by inode number; for directories the subdirectories. */
  readonly linksOf: Uint32Array;
  readonly parentOf: ReadonlyMap<DirectoryInode, number>;
  /** Its names in the order in which they are numbered and written. */
  readonly namesOf: ReadonlyMap<DirectoryInode, readonly ByteString[]>;
  /** At most so many blocks do directories with their extents, xattrs and long symlinks take. */
  readonly metadataBlocks: number;
  readonly files: readonly FileInode[];
}

/**
 * Numbers all inodes of a tree, breadth within a directory first, and checks that ext4 can hold them.
 *
 * @param xattrBlocks told of every attribute block
 * @throws {BangerError} `corrupt_data` with the path, for names, links, times or ids that ext4 cannot store
 */
export function surveyTree(
  root: DirectoryInode,
  timestamp: Timestamp,
  xattrBlocks: XattrBlocks,
): Survey {
  return new Surveyor(root, timestamp, xattrBlocks).run();
}

interface Place {
  readonly parent: Place | undefined;
  readonly name: ByteString;
  readonly directory: DirectoryInode;
}

class Surveyor {
  readonly #root: DirectoryInode;
  readonly #inodes: Inode[] = [];
  readonly #numberOf = new Map<Inode, number>();
  readonly #parentOf = new Map<DirectoryInode, number>();
  readonly #namesOf = new Map<DirectoryInode, readonly ByteString[]>();
  readonly #links: number[] = [];
  readonly #files: FileInode[] = [];
  readonly #xattrBlocks: XattrBlocks;
  #metadataBlocks = LOST_AND_FOUND_BLOCKS;

  constructor(root: DirectoryInode, timestamp: Timestamp, xattrBlocks: XattrBlocks) {
    this.#root = withLostAndFound(root, timestamp);
    this.#xattrBlocks = xattrBlocks;
  }

  run(): Survey {
    const root: Place = { parent: undefined, name: "" as ByteString, directory: this.#root };
    this.#numberOf.set(this.#root, ROOT_INODE);
    this.#parentOf.set(this.#root, ROOT_INODE);
    this.#links[ROOT_INODE] = 0;
    this.#measureAttributes(this.#root.attributes, root, "" as ByteString);
    this.#number(this.#root.entries.get(LOST_AND_FOUND)!);
    // A stack of our own: trees are deeper than the language's.
    const waiting = [root];
    for (let place = waiting.pop(); place; place = waiting.pop()) {
      for (const below of this.#visit(place).reverse()) waiting.push(below);
    }
    return {
      root: this.#root,
      inodes: this.#inodes,
      numberOf: this.#numberOf,
      linksOf: Uint32Array.from(this.#links, (count) => count ?? 0),
      parentOf: this.#parentOf,
      namesOf: this.#namesOf,
      metadataBlocks: this.#metadataBlocks,
      files: this.#files,
    };
  }

  #number(inode: Inode): number {
    const number = LOST_AND_FOUND_INODE + this.#inodes.length;
    this.#inodes.push(inode);
    this.#numberOf.set(inode, number);
    this.#links[number] = 0;
    return number;
  }

  /** @returns the subdirectories */
  #visit(place: Place): Place[] {
    const { directory } = place;
    const own = this.#numberOf.get(directory)!;
    const below: Place[] = [];
    let entriesBytes = 0;
    const names = [...directory.entries.keys()].sort();
    this.#namesOf.set(directory, names);
    for (const name of names) {
      const inode = directory.entries.get(name)!;
      checkName(name, place);
      entriesBytes += directoryEntryBytes(name);
      const isNew = !this.#numberOf.has(inode) || this.#isFreshLostAndFound(inode);
      const number = this.#numberOf.get(inode) ?? this.#number(inode);
      if (inode.kind === "directory") {
        if (!isNew) throw cannotStore(place, name, "it is the same directory as another");
        this.#links[own]!++;
        this.#parentOf.set(inode, own);
        below.push({ parent: place, name, directory: inode });
      } else if (++this.#links[number]! > MAX_LINKS) {
        throw cannotStore(place, name, `it has more than ${MAX_LINKS} hard links`);
      }
      if (isNew) this.#measure(inode, place, name);
    }
    const blocks = maxDirectoryBlocks(entriesBytes);
    this.#metadataBlocks += blocks + extentTreeBlocks(3 + Math.ceil(blocks / (BLOCKS_PER_GROUP / 2)));
    return below;
  }

  /** lost+found has its number before its directory is visited. */
  #isFreshLostAndFound(inode: Inode): boolean {
    return inode === this.#inodes[0] && inode.kind === "directory" && !this.#parentOf.has(inode);
  }

  #measure(inode: Inode, place: Place, name: ByteString): void {
    this.#measureAttributes(inode.attributes, place, name);
    if (inode.kind === "file") {
      this.#files.push(inode);
    } else if (inode.kind === "symlink") {
      const length = inode.target.length;
      if (length === 0 || length > MAX_SYMLINK_BYTES || inode.target.includes("\0")) {
        throw cannotStore(place, name, "its target is empty, too long or has a zero byte");
      }
      if (length > MAX_FAST_SYMLINK_BYTES) this.#metadataBlocks++;
    } else if (
      inode.kind !== "directory" && !(isWithin(inode.major, 0xfff) && isWithin(inode.minor, 0xfffff))
    ) {
      throw cannotStore(place, name, `its device number ${inode.major}:${inode.minor} is out of range`);
    }
  }

  #measureAttributes({ mode, uid, gid, mtime, xattrs }: Attributes, place: Place, name: ByteString): void {
    if (!isWithin(mode, 0o7777)) throw cannotStore(place, name, "its mode is out of range");
    if (!isWithin(uid, 0xffffffff) || !isWithin(gid, 0xffffffff)) {
      throw cannotStore(place, name, "its owner is out of range");
    }
    const { seconds, nanoseconds } = mtime;
    if (!Number.isInteger(seconds) || seconds < MIN_SECONDS || seconds > MAX_SECONDS) {
      throw cannotStore(place, name, "its time is before 1901 or after 2310");
    }
    if (!isWithin(nanoseconds, 999_999_999)) {
      throw cannotStore(place, name, "its nanoseconds are out of range");
    }
    if (xattrs.size === 0) return;
    const { inBlock } = packXattrs(xattrs);
    if (inBlock) this.#metadataBlocks += this.#xattrBlocks.count(inBlock);
  }
}

function isWithin(value: number, max: number): boolean {
  return Number.isInteger(value) && value >= 0 && value <= max;
}

function withLostAndFound(root: DirectoryInode, timestamp: Timestamp): DirectoryInode {
  const found = root.entries.get(LOST_AND_FOUND);
  if (found?.kind === "directory") return root;
  if (found) throw new BangerError("corrupt_data", "Cannot store /lost+found: it is not a directory");
  const made: DirectoryInode = {
    kind: "directory",
    attributes: rootOwned(0o700, timestamp),
    entries: new Map(),
  };
  return { ...root, entries: new Map(root.entries).set(LOST_AND_FOUND, made) };
}

function checkName(name: ByteString, place: Place): void {
  const fits = name.length > 0 && name.length <= MAX_NAME_BYTES && name !== "." && name !== ".." &&
    !name.includes("/") && !name.includes("\0");
  if (!fits) {
    throw cannotStore(
      place,
      name,
      `a name must be 1 to ${MAX_NAME_BYTES} bytes, without a slash, not "." or ".."`,
    );
  }
}

function cannotStore(place: Place, name: ByteString, why: string): BangerError {
  let path = displayText(name);
  for (let at: Place | undefined = place; at; at = at.parent) path = `${displayText(at.name)}/${path}`;
  return new BangerError("corrupt_data", `Cannot store ${quote(path)} on ext4: ${why}`);
}
