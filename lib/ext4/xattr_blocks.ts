import { createHash } from "node:crypto";
import type { BlockPlacer } from "./output.ts";
import { MAX_XATTR_BLOCK_REFERENCES, sealXattrBlock } from "./xattr.ts";

interface SharedBlock {
  /** Inodes that were counted and have not got a block yet. */
  waiting: number;
  /** Where the current copy lies, and how many more inodes it may serve. */
  blockNumber: number;
  left: number;
}

/**
 * Inodes with the same attributes share a block. A block says how many it serves, so all are counted
 * first; then each asks for its place.
 */
export class XattrBlocks {
  readonly #blocks = new Map<string, SharedBlock>();

  /** @returns blocks that this inode adds: 0 or 1 */
  count(block: Uint8Array): number {
    const key = keyOf(block);
    const shared = this.#blocks.get(key) ?? { waiting: 0, blockNumber: 0, left: 0 };
    this.#blocks.set(key, shared);
    return shared.waiting++ % MAX_XATTR_BLOCK_REFERENCES === 0 ? 1 : 0;
  }

  /**
   * @param block as counted; changed
   * @returns the block number for this inode
   */
  async place(block: Uint8Array, checksumSeed: number, placer: BlockPlacer): Promise<number> {
    const shared = this.#blocks.get(keyOf(block))!;
    if (shared.left === 0) {
      const references = Math.min(shared.waiting, MAX_XATTR_BLOCK_REFERENCES);
      sealXattrBlock(block, references, placer.nextBlock, checksumSeed);
      shared.blockNumber = await placer.place(block);
      shared.left = references;
    }
    shared.left--;
    shared.waiting--;
    return shared.blockNumber;
  }
}

function keyOf(block: Uint8Array): string {
  return createHash("sha256").update(block).digest("base64");
}
