import { bytesOf, type DirectoryInode, type FileInode, type Inode, type SpecialInode } from "../base/tree.ts";
import { viewOf } from "./bytes.ts";
import type { PlacedContent } from "./content.ts";
import { buildDirectory, type DirectoryEntry } from "./directory.ts";
import { buildExtentTree, ExtentList } from "./extents.ts";
import {
  BLOCK_SIZE,
  ENTRY_TYPE,
  I_BLOCK_BYTES,
  INODE_FLAG,
  LOST_AND_FOUND_INODE,
  MAX_FAST_SYMLINK_BYTES,
  MAX_LINKS,
  MODE_TYPE,
  ROOT_INODE,
  SECTORS_PER_BLOCK,
} from "./format.ts";
import { inodeChecksumSeed, type InodeFields } from "./inode.ts";
import type { InodeTableWriter } from "./inode_table.ts";
import type { BlockStream } from "./output.ts";
import type { Identity } from "./superblock.ts";
import { LOST_AND_FOUND_BLOCKS, sortedEntries, type Survey } from "./survey.ts";
import type { BlockUsage } from "./usage.ts";
import { packXattrs } from "./xattr.ts";
import type { XattrBlocks } from "./xattr_blocks.ts";

export interface TreeParts {
  readonly survey: Survey;
  readonly identity: Identity;
  readonly stream: BlockStream;
  readonly usage: BlockUsage;
  readonly xattrBlocks: XattrBlocks;
  readonly table: InodeTableWriter;
  contentOf(file: FileInode): PlacedContent | undefined;
}

/** What an inode has besides its attributes. `blocks` counts data and extent blocks. */
interface Body {
  readonly iBlock: Uint8Array;
  readonly sizeBytes: number;
  readonly blocks: number;
  readonly flags: number;
}

/** Puts single metadata blocks into the stream and marks them used. */
export class MetadataPlacer {
  readonly #stream: BlockStream;
  readonly #usage: BlockUsage;

  constructor(stream: BlockStream, usage: BlockUsage) {
    this.#stream = stream;
    this.#usage = usage;
  }

  get nextBlock(): number {
    return this.#stream.nextBlock;
  }

  async place(block: Uint8Array): Promise<number> {
    let at = 0;
    await this.#stream.append(block, (start) => at = start);
    this.#usage.mark(at, 1);
    return at;
  }
}

/** Writes a surveyed tree: directories, symlinks, extent trees, attributes, inodes. */
export class TreeWriter {
  readonly #parts: TreeParts;
  readonly #placer: MetadataPlacer;
  readonly #hashSeed: Uint32Array;

  constructor(parts: TreeParts) {
    this.#parts = parts;
    this.#placer = new MetadataPlacer(parts.stream, parts.usage);
    const seed = viewOf(parts.identity.hashSeed);
    this.#hashSeed = Uint32Array.from({ length: 4 }, (_, i) => seed.getUint32(i * 4, true));
  }

  async writeRoot(): Promise<void> {
    await this.#writeInode(ROOT_INODE, this.#parts.survey.root);
  }

  /** All but the root. */
  async writeRest(): Promise<void> {
    let number = LOST_AND_FOUND_INODE;
    for (const inode of this.#parts.survey.inodes) await this.#writeInode(number++, inode);
  }

  async #writeInode(number: number, inode: Inode): Promise<void> {
    const { identity, usage, xattrBlocks, table } = this.#parts;
    const { mode, uid, gid, mtime, xattrs } = inode.attributes;
    const body = await this.#writeBody(number, inode);
    const { inInode, inBlock } = packXattrs(xattrs);
    const xattrBlock = inBlock ? await xattrBlocks.place(inBlock, identity.checksumSeed, this.#placer) : 0;
    if (xattrBlock > 0) usage.mark(xattrBlock, 1);
    const fields: InodeFields = {
      mode: MODE_TYPE[inode.kind] | mode,
      uid,
      gid,
      sizeBytes: body.sizeBytes,
      links: this.#linksOf(number, inode),
      sectors: (body.blocks + (xattrBlock > 0 ? 1 : 0)) * SECTORS_PER_BLOCK,
      flags: body.flags,
      time: mtime,
      iBlock: body.iBlock,
      xattrBlock,
      xattrBytes: inInode,
    };
    await table.write(number, fields, inode.kind === "directory");
  }

  #linksOf(number: number, inode: Inode): number {
    const links = this.#parts.survey.linksOf[number]!;
    if (inode.kind !== "directory") return links;
    // With dir_nlink, 1 says "too many to count".
    return links + 2 > MAX_LINKS ? 1 : links + 2;
  }

  #writeBody(number: number, inode: Inode): Promise<Body> {
    switch (inode.kind) {
      case "file":
        return this.#writeFile(number, inode);
      case "directory":
        return this.#writeDirectory(number, inode);
      case "symlink":
        return this.#writeSymlink(number, bytesOf(inode.target));
      default:
        return Promise.resolve(deviceBody(inode));
    }
  }

  async #writeFile(number: number, file: FileInode): Promise<Body> {
    const content = this.#parts.contentOf(file);
    const extents = content?.extents ?? new ExtentList();
    for (const { physical, length } of extents) this.#parts.usage.mark(physical, length);
    return await this.#mapped(number, extents, file.content.sizeBytes, 0);
  }

  /** @param extents blocks that are placed and marked */
  async #mapped(number: number, extents: ExtentList, sizeBytes: number, flags: number): Promise<Body> {
    const seed = inodeChecksumSeed(this.#parts.identity.checksumSeed, number);
    const { iBlock, treeBlocks } = await buildExtentTree(extents, seed, this.#placer);
    return { iBlock, sizeBytes, blocks: extents.blockCount + treeBlocks, flags: flags | INODE_FLAG.extents };
  }

  async #writeDirectory(number: number, directory: DirectoryInode): Promise<Body> {
    const { survey, identity } = this.#parts;
    const entries = sortedEntries(directory).map(([name, inode]): DirectoryEntry => ({
      name,
      inodeNumber: survey.numberOf.get(inode)!,
      type: ENTRY_TYPE[inode.kind],
    }));
    const { blocks, blockCount, indexed } = buildDirectory(entries, {
      inodeNumber: number,
      parentInodeNumber: survey.parentOf.get(directory)!,
      checksumSeed: inodeChecksumSeed(identity.checksumSeed, number),
      hashSeed: this.#hashSeed,
      minBlocks: number === LOST_AND_FOUND_INODE ? LOST_AND_FOUND_BLOCKS : 1,
    });
    const extents = new ExtentList();
    let logical = 0;
    for (const block of blocks) extents.add(logical++, await this.#placer.place(block), 1);
    return await this.#mapped(number, extents, blockCount * BLOCK_SIZE, indexed ? INODE_FLAG.index : 0);
  }

  async #writeSymlink(number: number, target: Uint8Array): Promise<Body> {
    if (target.length <= MAX_FAST_SYMLINK_BYTES) {
      const iBlock = new Uint8Array(I_BLOCK_BYTES);
      iBlock.set(target);
      return { iBlock, sizeBytes: target.length, blocks: 0, flags: 0 };
    }
    const block = new Uint8Array(BLOCK_SIZE);
    block.set(target);
    const extents = new ExtentList();
    extents.add(0, await this.#placer.place(block), 1);
    return await this.#mapped(number, extents, target.length, 0);
  }
}

/** Small device numbers in the old 16-bit form, others in the new one, as the kernel writes them. */
function deviceBody({ kind, major, minor }: SpecialInode): Body {
  const iBlock = new Uint8Array(I_BLOCK_BYTES);
  const view = viewOf(iBlock);
  if (kind === "character-device" || kind === "block-device") {
    if (major < 256 && minor < 256) view.setUint32(0, (major << 8) | minor, true);
    else view.setUint32(4, (minor & 0xff) | (major << 8) | ((minor & ~0xff) << 12), true);
  }
  return { iBlock, sizeBytes: 0, blocks: 0, flags: 0 };
}
