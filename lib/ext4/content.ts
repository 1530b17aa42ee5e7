import { BangerError } from "../base/errors.ts";
import type { ContentWriter, Inode, StoredContent } from "../base/tree.ts";
import { isZero } from "./bytes.ts";
import { ExtentList } from "./extents.ts";
import { BLOCK_SIZE } from "./format.ts";
import type { BlockStream } from "./output.ts";

/** Shorter runs of zero blocks are stored: a hole costs an extent. */
const MIN_HOLE_BLOCKS = 8;
const ZERO_BLOCK = new Uint8Array(BLOCK_SIZE);
/** Logical block numbers have 32 bits. */
const MAX_FILE_BLOCKS = 2 ** 32 - 1;

/** The token of content that lies in a filesystem being written. */
export class PlacedContent {
  /** While a filesystem is finished: the inode that owns the blocks. */
  claimedBy: Inode | undefined;

  constructor(readonly owner: object, readonly extents: ExtentList) {}
}

/** A content writer that can leave holes without being fed zeros. */
export interface HoleWriter extends ContentWriter {
  /** As writing so many zero bytes, in time independent of their number. */
  writeHole(sizeBytes: number): Promise<void>;
}

export interface ContentPlace {
  /** Whose the content is. */
  readonly owner: object;
  readonly stream: BlockStream;
  /** One block to collect in; contents come one at a time. */
  readonly scratch: Uint8Array;
  /** The first block that is free now. */
  readonly firstBlock: number;
  closed(): void;
}

/** Streams one file's content to consecutive blocks; runs of zero blocks become holes. */
export class ExtentContentWriter implements HoleWriter {
  readonly #place: ContentPlace;
  readonly #extents = new ExtentList();
  /** Blocks before this one are placed or holes. */
  #logical = 0;
  #zeroBlocks = 0;
  /** Bytes of an incomplete block in the scratch buffer. */
  #partial = 0;
  #closed = false;

  constructor(place: ContentPlace) {
    this.#place = place;
  }

  async write(chunk: Uint8Array): Promise<void> {
    this.#checkOpen();
    let at = 0;
    if (this.#partial > 0) {
      at = Math.min(BLOCK_SIZE - this.#partial, chunk.length);
      this.#place.scratch.set(chunk.subarray(0, at), this.#partial);
      this.#partial += at;
      if (this.#partial < BLOCK_SIZE) return;
      this.#partial = 0;
      await this.#takeBlocks(this.#place.scratch);
    }
    const wholeEnd = chunk.length - ((chunk.length - at) % BLOCK_SIZE);
    if (wholeEnd > at) await this.#takeBlocks(chunk.subarray(at, wholeEnd));
    if (chunk.length > wholeEnd) {
      this.#place.scratch.set(chunk.subarray(wholeEnd));
      this.#partial = chunk.length - wholeEnd;
    }
  }

  async writeHole(sizeBytes: number): Promise<void> {
    this.#checkOpen();
    let left = sizeBytes;
    if (this.#partial > 0) {
      const fill = Math.min(left, BLOCK_SIZE - this.#partial);
      await this.write(ZERO_BLOCK.subarray(0, fill));
      left -= fill;
    }
    this.#zeroBlocks += Math.floor(left / BLOCK_SIZE);
    this.#checkSize();
    if (left % BLOCK_SIZE > 0) await this.write(ZERO_BLOCK.subarray(0, left % BLOCK_SIZE));
  }

  async end(): Promise<StoredContent> {
    this.#checkOpen();
    const tail = this.#partial;
    if (tail > 0) {
      const block = this.#place.scratch.subarray(0, BLOCK_SIZE);
      block.fill(0, tail);
      this.#partial = 0;
      await this.#takeBlocks(block);
    }
    const blocks = this.#logical + this.#zeroBlocks;
    await this.#placeZeros();
    this.#close();
    return {
      sizeBytes: tail > 0 ? (blocks - 1) * BLOCK_SIZE + tail : blocks * BLOCK_SIZE,
      token: new PlacedContent(this.#place.owner, this.#extents),
    };
  }

  abort(): Promise<void> {
    if (!this.#closed) {
      this.#place.stream.rewind(this.#place.firstBlock);
      this.#close();
    }
    return Promise.resolve();
  }

  #close(): void {
    this.#closed = true;
    this.#place.closed();
  }

  #checkOpen(): void {
    if (this.#closed) throw new BangerError("internal", "Cannot write file content: it has ended");
  }

  #checkSize(): void {
    if (this.#logical + this.#zeroBlocks <= MAX_FILE_BLOCKS) return;
    throw new BangerError("no_space", "Cannot write file content: a file on ext4 ends at 16 TiB");
  }

  /** @param blocks whole ones */
  async #takeBlocks(blocks: Uint8Array): Promise<void> {
    for (let at = 0; at < blocks.length;) {
      const zero = isZero(blocks, at, BLOCK_SIZE);
      let end = at + BLOCK_SIZE;
      while (end < blocks.length && isZero(blocks, end, BLOCK_SIZE) === zero) end += BLOCK_SIZE;
      if (zero) {
        this.#zeroBlocks += (end - at) / BLOCK_SIZE;
      } else {
        await this.#placeZeros();
        await this.#append(blocks.subarray(at, end));
      }
      at = end;
    }
    this.#checkSize();
  }

  /** The zero blocks seen so far become a hole if they are many. */
  async #placeZeros(): Promise<void> {
    if (this.#zeroBlocks >= MIN_HOLE_BLOCKS) {
      this.#logical += this.#zeroBlocks;
    } else {
      for (let i = 0; i < this.#zeroBlocks; i++) await this.#append(ZERO_BLOCK);
    }
    this.#zeroBlocks = 0;
  }

  #append(blocks: Uint8Array): Promise<void> {
    return this.#place.stream.append(blocks, (start, count) => {
      this.#extents.add(this.#logical, start, count);
      this.#logical += count;
    });
  }
}
