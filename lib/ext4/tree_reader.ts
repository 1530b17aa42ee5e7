import {
  type ByteString,
  byteString,
  type DirectoryInode,
  type Inode,
  type SpecialInode,
} from "../base/tree.ts";
import { BlockMapReader, ClaimedBlocks } from "./block_map.ts";
import { readFully, viewOf } from "./bytes.ts";
import { PlacedContent } from "./content.ts";
import { type FoundEntry, readDirectoryBlock } from "./directory_reader.ts";
import { INODE_FLAG, LOST_AND_FOUND_INODE, MODE_TYPE, MODE_TYPE_MASK, ROOT_INODE } from "./format.ts";
import { type DecodedInode, inodeChecksumSeed } from "./inode.ts";
import { InodeReader } from "./inode_reader.ts";
import { readPlaced, readRun } from "./placed_reader.ts";
import { type ReadableDisk, type Superblock, unreadable } from "./superblock_reader.ts";
import { readBlockXattrs, readInodeXattrs } from "./xattr.ts";

const MAX_SYMLINK_BYTES = 4096;
/** Shorter targets lie in the inode. */
const FAST_SYMLINK_LIMIT = 60;
const DIRECTORY_CHUNK_BYTES = 65536;

const KIND_OF_TYPE = new Map<number, Inode["kind"]>(
  (Object.keys(MODE_TYPE) as Inode["kind"][]).map((kind) => [MODE_TYPE[kind], kind]),
);

/** One walk over a disk's tree, with its own count of entries and blocks. */
export class TreeWalk {
  readonly #owner: object;
  readonly #disk: ReadableDisk;
  readonly #superblock: Superblock;
  readonly #inodes: InodeReader;
  readonly #maps: BlockMapReader;
  readonly #claimed: ClaimedBlocks;
  readonly #maxEntries: number;
  readonly #made = new Map<number, Inode>();
  /** For one directory at a time. */
  readonly #buffer: Uint8Array;
  #entries = 0;

  /** @param owner who the contents' tokens belong to */
  constructor(owner: object, disk: ReadableDisk, superblock: Superblock, maxEntries: number) {
    this.#owner = owner;
    this.#disk = disk;
    this.#superblock = superblock;
    this.#maxEntries = maxEntries;
    this.#inodes = new InodeReader(disk, superblock);
    this.#buffer = new Uint8Array(Math.max(superblock.blockSize, DIRECTORY_CHUNK_BYTES));
    this.#claimed = new ClaimedBlocks(superblock.blockCount);
    this.#maps = new BlockMapReader(disk, superblock, this.#claimed);
  }

  /** @returns the inode number of the directory that the names lead to */
  async find(names: readonly ByteString[]): Promise<number | undefined> {
    let inodeNumber = ROOT_INODE;
    for (const wanted of names) {
      const inode = await this.#inodes.read(inodeNumber);
      let found: number | undefined;
      for await (const entry of this.#entriesOf(inodeNumber, inode)) {
        if (entry.name === wanted) found = entry.inodeNumber;
      }
      if (found === undefined || !isDirectory(await this.#inodes.read(found))) return undefined;
      inodeNumber = found;
    }
    return inodeNumber;
  }

  /** Reads the tree below a directory. @throws {BangerError} `corrupt_data` */
  async run(inodeNumber: number): Promise<DirectoryInode> {
    const root = await this.#make(inodeNumber);
    if (root.kind !== "directory") throw unreadable(`inode ${inodeNumber} is no directory`);
    // A stack of our own: trees are deeper than the language's.
    const waiting: [number, DirectoryInode][] = [[inodeNumber, root]];
    for (let next = waiting.pop(); next; next = waiting.pop()) {
      const [number, directory] = next;
      const entries: FoundEntry[] = [];
      for await (const entry of this.#entriesOf(number, await this.#inodes.read(number))) entries.push(entry);
      // A directory is ordered by hash; inode tables are read in their own order.
      entries.sort((a, b) => a.inodeNumber - b.inodeNumber);
      for (const entry of entries) {
        const known = this.#made.get(entry.inodeNumber);
        if (known?.kind === "directory") throw unreadable("a directory has two names");
        const inode = known ?? await this.#make(entry.inodeNumber);
        if (directory.entries.has(entry.name)) throw unreadable("a directory holds a name twice");
        directory.entries.set(entry.name, inode);
        if (inode.kind === "directory") waiting.push([entry.inodeNumber, inode]);
      }
    }
    return root;
  }

  async *#entriesOf(inodeNumber: number, inode: DecodedInode) {
    if (inode.flags & INODE_FLAG.inlineData) throw unreadable("a directory lies in its inode");
    const { blockSize } = this.#superblock;
    const seed = this.#seedOf(inodeNumber, inode);
    for (const { physical, length } of await this.#maps.read({ inode, checksumSeed: seed })) {
      for await (const chunk of readRun(this.#disk, physical * blockSize, length * blockSize, this.#buffer)) {
        for (let at = 0; at < chunk.length; at += blockSize) {
          for (const entry of readDirectoryBlock(chunk.subarray(at, at + blockSize), seed)) {
            if (++this.#entries > this.#maxEntries) {
              throw unreadable(`it has over ${this.#maxEntries} entries`);
            }
            if (entry.inodeNumber < LOST_AND_FOUND_INODE) throw unreadable("a name leads to a special inode");
            yield entry;
          }
        }
      }
    }
  }

  #seedOf(inodeNumber: number, inode: DecodedInode): number | undefined {
    const { checksumSeed } = this.#superblock;
    return checksumSeed === undefined
      ? undefined
      : inodeChecksumSeed(checksumSeed, inodeNumber, inode.generation);
  }

  async #make(inodeNumber: number): Promise<Inode> {
    const inode = await this.#inodes.read(inodeNumber);
    if (inode.links === 0) throw unreadable(`a name leads to inode ${inodeNumber}, which is deleted`);
    if (inode.flags & INODE_FLAG.inlineData) throw unreadable("a file lies in its inode");
    const made = await this.#makeKind(inodeNumber, inode);
    this.#made.set(inodeNumber, made);
    return made;
  }

  async #makeKind(inodeNumber: number, inode: DecodedInode): Promise<Inode> {
    const kind = KIND_OF_TYPE.get(inode.mode & MODE_TYPE_MASK);
    const attributes = {
      mode: inode.mode & 0o7777,
      uid: inode.uid,
      gid: inode.gid,
      mtime: inode.mtime,
      xattrs: await this.#readXattrs(inode),
    };
    switch (kind) {
      case undefined:
        throw unreadable(`inode ${inodeNumber} has no known type`);
      case "directory":
        return { kind, attributes, entries: new Map() };
      case "file":
        return { kind, attributes, content: await this.#contentOf(inodeNumber, inode) };
      case "symlink":
        return { kind, attributes, target: await this.#targetOf(inodeNumber, inode) };
      default:
        return { kind, attributes, ...deviceNumbers(kind, inode) };
    }
  }

  async #contentOf(inodeNumber: number, inode: DecodedInode) {
    const extents = await this.#maps.read({ inode, checksumSeed: this.#seedOf(inodeNumber, inode) });
    return { sizeBytes: inode.sizeBytes, token: new PlacedContent(this.#owner, extents) };
  }

  async #targetOf(inodeNumber: number, inode: DecodedInode): Promise<ByteString> {
    const { sizeBytes, flags, iBlock } = inode;
    if (sizeBytes === 0 || sizeBytes > MAX_SYMLINK_BYTES) {
      throw unreadable("a symlink has an impossible size");
    }
    if (sizeBytes < FAST_SYMLINK_LIMIT && !(flags & INODE_FLAG.extents)) {
      return byteString(iBlock.subarray(0, sizeBytes));
    }
    const extents = await this.#maps.read({ inode, checksumSeed: this.#seedOf(inodeNumber, inode) });
    let target = "";
    for await (const chunk of readPlaced(this.#disk, extents, sizeBytes, this.#superblock.blockSize)) {
      target += byteString(chunk);
    }
    return target as ByteString;
  }

  async #readXattrs(inode: DecodedInode): Promise<ReadonlyMap<string, Uint8Array>> {
    const xattrs = new Map<string, Uint8Array>();
    readInodeXattrs(inode.xattrBytes, xattrs);
    const { xattrBlock } = inode;
    if (xattrBlock === 0) return xattrs;
    const { blockSize, blockCount, checksumSeed } = this.#superblock;
    if (xattrBlock >= blockCount) throw unreadable("an attribute block is beyond the disk");
    const block = await readFully(this.#disk, xattrBlock * blockSize, blockSize);
    readBlockXattrs(block, xattrBlock, checksumSeed, xattrs);
    return xattrs;
  }
}

function isDirectory(inode: DecodedInode): boolean {
  return (inode.mode & MODE_TYPE_MASK) === MODE_TYPE.directory;
}

/** The old 16-bit form in the first word, or the new one in the second. */
function deviceNumbers(kind: SpecialInode["kind"], inode: DecodedInode): { major: number; minor: number } {
  if (kind === "fifo" || kind === "socket") return { major: 0, minor: 0 };
  const view = viewOf(inode.iBlock);
  const old = view.getUint32(0, true);
  if (old !== 0) return { major: (old >>> 8) & 0xff, minor: old & 0xff };
  const encoded = view.getUint32(4, true);
  return { major: (encoded >>> 8) & 0xfff, minor: (encoded & 0xff) | ((encoded >>> 12) & 0xfff00) };
}
