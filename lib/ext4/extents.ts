import { viewOf } from "./bytes.ts";
import { crc32c } from "./crc32c.ts";
import {
  BLOCK_SIZE,
  EXTENT_MAGIC,
  EXTENT_MAX_BLOCKS,
  EXTENTS_IN_INODE,
  EXTENTS_PER_BLOCK,
  I_BLOCK_BYTES,
} from "./format.ts";
import type { BlockPlacer } from "./output.ts";

const HEADER_BYTES = 12;
const ENTRY_BYTES = 12;

const NO_TRIPLES = Object.freeze<number[]>([]) as number[];

/** Runs of a file's blocks, ascending: triples of logical block, physical block, length. */
export class ExtentList {
  /** Most files have one run: an array that begins with it is not grown for more. */
  #triples: number[] = NO_TRIPLES;

  get count(): number {
    return this.#triples.length / 3;
  }

  /** @param logical beyond what was added before */
  add(logical: number, physical: number, length: number): void {
    const triples = this.#triples;
    const last = triples.length - 3;
    let [at, from, left] = [logical, physical, length];
    if (
      last >= 0 && triples[last]! + triples[last + 2]! === at &&
      triples[last + 1]! + triples[last + 2]! === from
    ) {
      const more = Math.min(left, EXTENT_MAX_BLOCKS - triples[last + 2]!);
      triples[last + 2]! += more;
      at += more;
      from += more;
      left -= more;
    }
    while (left > 0) {
      const piece = Math.min(left, EXTENT_MAX_BLOCKS);
      if (this.#triples === NO_TRIPLES) this.#triples = [at, from, piece];
      else this.#triples.push(at, from, piece);
      at += piece;
      from += piece;
      left -= piece;
    }
  }

  *[Symbol.iterator](): Generator<{ logical: number; physical: number; length: number }> {
    const triples = this.#triples;
    for (let i = 0; i < triples.length; i += 3) {
      yield { logical: triples[i]!, physical: triples[i + 1]!, length: triples[i + 2]! };
    }
  }

  /** As iterating, without an object for each: most lists are looked at once and have one run. */
  forEachRun(use: (logical: number, physical: number, length: number) => void): void {
    const triples = this.#triples;
    for (let i = 0; i < triples.length; i += 3) use(triples[i]!, triples[i + 1]!, triples[i + 2]!);
  }

  get blockCount(): number {
    let count = 0;
    for (let i = 2; i < this.#triples.length; i += 3) count += this.#triples[i]!;
    return count;
  }
}

/** Blocks that an extent tree needs besides the inode. */
export function extentTreeBlocks(extentCount: number): number {
  let total = 0;
  for (let level = extentCount; level > EXTENTS_IN_INODE;) {
    level = Math.ceil(level / EXTENTS_PER_BLOCK);
    total += level;
  }
  return total;
}

/** An entry of any level: where it begins in the file, and an encoded extent or index. */
interface TreeEntry {
  readonly logical: number;
  readonly physical: number;
  /** 0 for an index */
  readonly length: number;
}

/**
 * Builds a file's extent tree.
 *
 * @param seed of the inode, see `inodeChecksumSeed`
 * @returns `i_block`, and the blocks used besides it
 */
export async function buildExtentTree(
  extents: ExtentList,
  seed: number,
  placer: BlockPlacer,
): Promise<{ iBlock: Uint8Array; treeBlocks: number }> {
  let level: TreeEntry[] = [...extents];
  let depth = 0;
  let treeBlocks = 0;
  const block = new Uint8Array(level.length > EXTENTS_IN_INODE ? BLOCK_SIZE : 0);
  while (level.length > EXTENTS_IN_INODE) {
    const above: TreeEntry[] = [];
    for (let at = 0; at < level.length; at += EXTENTS_PER_BLOCK) {
      const entries = level.slice(at, at + EXTENTS_PER_BLOCK);
      block.fill(0);
      encodeNode(block, entries, EXTENTS_PER_BLOCK, depth);
      const tail = HEADER_BYTES + EXTENTS_PER_BLOCK * ENTRY_BYTES;
      viewOf(block).setUint32(tail, crc32c(seed, block.subarray(0, tail)), true);
      above.push({ logical: entries[0]!.logical, physical: await placer.place(block), length: 0 });
      treeBlocks++;
    }
    level = above;
    depth++;
  }
  const iBlock = new Uint8Array(I_BLOCK_BYTES);
  encodeNode(iBlock, level, EXTENTS_IN_INODE, depth);
  return { iBlock, treeBlocks };
}

function encodeNode(into: Uint8Array, entries: readonly TreeEntry[], max: number, depth: number): void {
  const view = viewOf(into);
  encodeHeader(view, entries.length, max, depth);
  let at = HEADER_BYTES;
  for (const { logical, physical, length } of entries) {
    if (depth === 0) encodeExtent(view, at, logical, physical, length);
    else {
      view.setUint32(at, logical, true);
      view.setUint32(at + 4, physical, true);
      view.setUint16(at + 8, Math.floor(physical / 2 ** 32), true);
    }
    at += ENTRY_BYTES;
  }
}

function encodeHeader(view: DataView, count: number, max: number, depth: number): void {
  view.setUint16(0, EXTENT_MAGIC, true);
  view.setUint16(2, count, true);
  view.setUint16(4, max, true);
  view.setUint16(6, depth, true);
}

function encodeExtent(view: DataView, at: number, logical: number, physical: number, length: number): void {
  view.setUint32(at, logical, true);
  view.setUint16(at + 4, length, true);
  view.setUint16(at + 6, Math.floor(physical / 2 ** 32), true);
  view.setUint32(at + 8, physical, true);
}

/** The `i_block` of one inode after another: what most files have is encoded without taking memory. */
export class InodeBlockMap {
  readonly bytes = new Uint8Array(I_BLOCK_BYTES);
  readonly view = viewOf(this.bytes);

  /** @returns whether the runs fit into the inode: otherwise see `buildExtentTree` */
  encode(extents: ExtentList): boolean {
    if (extents.count > EXTENTS_IN_INODE) return false;
    this.bytes.fill(0);
    encodeHeader(this.view, extents.count, EXTENTS_IN_INODE, 0);
    let at = HEADER_BYTES;
    extents.forEachRun((logical, physical, length) => {
      encodeExtent(this.view, at, logical, physical, length);
      at += ENTRY_BYTES;
    });
    return true;
  }
}
