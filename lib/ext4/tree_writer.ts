import {
  bytesOf,
  type ByteString,
  type DirectoryInode,
  type FileInode,
  type Inode,
  type SpecialInode,
} from "../base/tree.ts";
import { viewOf } from "./bytes.ts";
import type { PlacedContent } from "./content.ts";
import { buildDirectory, type DirectoryEntry } from "./directory.ts";
import { buildExtentTree, ExtentList, InodeBlockMap } from "./extents.ts";
import {
  BLOCK_SIZE,
  ENTRY_TYPE,
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
import { LOST_AND_FOUND_BLOCKS, type Survey } from "./survey.ts";
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
  /** Valid until the next inode's. */
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
  readonly #blockMap = new InodeBlockMap();

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
    for (const inode of this.#parts.survey.inodes) {
      const pending = this.#writeInode(number++, inode);
      if (pending) await pending;
    }
  }

  /** @returns undefined where nothing needs to be waited for: a promise costs more than most inodes */
  #writeInode(number: number, inode: Inode): Promise<void> | undefined {
    const body = inode.attributes.xattrs.size === 0 ? this.#bodyWithin(inode) : undefined;
    if (!body) return this.#writeInodeAndBlocks(number, inode);
    const fields = this.#fieldsOf(number, inode, body, 0, undefined);
    return this.#parts.table.write(number, fields, false);
  }

  async #writeInodeAndBlocks(number: number, inode: Inode): Promise<void> {
    const { identity, usage, xattrBlocks, table } = this.#parts;
    const { inInode, inBlock } = packXattrs(inode.attributes.xattrs);
    const body = this.#bodyWithin(inode) ?? await this.#writeBody(number, inode);
    const xattrBlock = inBlock ? await xattrBlocks.place(inBlock, identity.checksumSeed, this.#placer) : 0;
    if (xattrBlock > 0) usage.mark(xattrBlock, 1);
    const fields = this.#fieldsOf(number, inode, body, xattrBlock, inInode);
    await table.write(number, fields, inode.kind === "directory");
  }

  #fieldsOf(
    number: number,
    inode: Inode,
    body: Body,
    xattrBlock: number,
    xattrBytes: Uint8Array | undefined,
  ): InodeFields {
    const { mode, uid, gid, mtime } = inode.attributes;
    return {
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
      xattrBytes,
    };
  }

  #linksOf(number: number, inode: Inode): number {
    const links = this.#parts.survey.linksOf[number]!;
    if (inode.kind !== "directory") return links;
    // With dir_nlink, 1 says "too many to count".
    return links + 2 > MAX_LINKS ? 1 : links + 2;
  }

  /** The body of what takes no blocks beyond its content's. @returns undefined for everything else */
  #bodyWithin(inode: Inode): Body | undefined {
    switch (inode.kind) {
      case "directory":
        return undefined;
      case "file":
        return this.#fileBody(inode);
      case "symlink":
        return this.#fastSymlink(inode.target);
      default:
        return this.#deviceBody(inode);
    }
  }

  #fileBody(file: FileInode): Body | undefined {
    const extents = this.#parts.contentOf(file)?.extents ?? new ExtentList();
    if (!this.#blockMap.encode(extents)) return undefined;
    let blocks = 0;
    extents.forEachRun((_logical, physical, length) => {
      this.#parts.usage.mark(physical, length);
      blocks += length;
    });
    const iBlock = this.#blockMap.bytes;
    return { iBlock, sizeBytes: file.content.sizeBytes, blocks, flags: INODE_FLAG.extents };
  }

  #fastSymlink(target: ByteString): Body | undefined {
    if (target.length > MAX_FAST_SYMLINK_BYTES) return undefined;
    const iBlock = this.#blockMap.bytes.fill(0);
    iBlock.set(bytesOf(target));
    return { iBlock, sizeBytes: target.length, blocks: 0, flags: 0 };
  }

  /** Small device numbers in the old 16-bit form, others in the new one, as the kernel writes them. */
  #deviceBody({ kind, major, minor }: SpecialInode): Body {
    const { view, bytes: iBlock } = this.#blockMap;
    iBlock.fill(0);
    if (kind === "character-device" || kind === "block-device") {
      if (major < 256 && minor < 256) view.setUint32(0, (major << 8) | minor, true);
      else view.setUint32(4, (minor & 0xff) | (major << 8) | ((minor & ~0xff) << 12), true);
    }
    return { iBlock, sizeBytes: 0, blocks: 0, flags: 0 };
  }

  /** The body of what needs blocks of its own. */
  async #writeBody(number: number, inode: Inode): Promise<Body> {
    if (inode.kind === "directory") return await this.#writeDirectory(number, inode);
    if (inode.kind === "symlink") return await this.#writeSymlink(number, bytesOf(inode.target));
    if (inode.kind === "file") return await this.#writeFile(number, inode);
    throw new Error("devices have no blocks");
  }

  async #writeFile(number: number, file: FileInode): Promise<Body> {
    const content = this.#parts.contentOf(file);
    const extents = content?.extents ?? new ExtentList();
    extents.forEachRun((_logical, physical, length) => this.#parts.usage.mark(physical, length));
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
    const entries = survey.namesOf.get(directory)!.map((name): DirectoryEntry => {
      const inode = directory.entries.get(name)!;
      return { name, inodeNumber: survey.numberOf.get(inode)!, type: ENTRY_TYPE[inode.kind] };
    });
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
    const block = new Uint8Array(BLOCK_SIZE);
    block.set(target);
    const extents = new ExtentList();
    extents.add(0, await this.#placer.place(block), 1);
    return await this.#mapped(number, extents, target.length, 0);
  }
}
