import { BLOCK_SIZE, BLOCKS_PER_GROUP } from "./format.ts";
import { hasBackup, noSpace } from "./geometry.ts";

/** Hands out blocks upwards, stepping over the superblock and descriptor copies. */
export class BlockAllocator {
  #next = 0;
  /** The usable run that `#next` is in ends here. */
  #runEnd = 0;

  /**
   * @param descriptorArea descriptor blocks in each group with a copy, reserved ones included
   * @param limitBlocks blocks of the disk; Infinity while its size is open
   */
  constructor(readonly descriptorArea: number, public limitBlocks: number) {
    this.moveTo(0);
  }

  /** The next block that will be given. */
  get next(): number {
    if (this.#next >= this.#runEnd) this.moveTo(this.#next);
    return this.#next;
  }

  /** Goes on at `block`, or at the first usable one after it. */
  moveTo(block: number): void {
    let group = Math.floor(block / BLOCKS_PER_GROUP);
    const usableFrom = hasBackup(group) ? group * BLOCKS_PER_GROUP + 1 + this.descriptorArea : 0;
    this.#next = Math.max(block, usableFrom);
    do group++; while (!hasBackup(group));
    this.#runEnd = group * BLOCKS_PER_GROUP;
  }

  /**
   * @param atMost blocks wanted
   * @returns first block and length, at least 1, of a run that was taken
   * @throws {BangerError} `no_space`
   */
  take(atMost: number): { start: number; count: number } {
    const start = this.next;
    const count = Math.min(atMost, this.#runEnd - start);
    if (start + count > this.limitBlocks) throw noSpace(this.limitBlocks * BLOCK_SIZE, start + atMost);
    this.#next = start + count;
    return { start, count };
  }

  /**
   * Takes one run of exactly `count` blocks, less than a group; what it has to skip stays free.
   *
   * @throws {BangerError} `no_space`
   */
  takeWhole(count: number): number {
    if (this.#next + count > this.#runEnd) this.moveTo(this.#runEnd);
    return this.take(count).start;
  }
}
