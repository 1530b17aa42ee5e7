import type { RandomAccessFile } from "../base/host.ts";
import { BLOCK_SIZE } from "./format.ts";
import type { BlockAllocator } from "./allocator.ts";

export type DiskFile = Pick<RandomAccessFile, "readAt" | "writeAt" | "truncate" | "sizeBytes">;

/** Writes to the disk one after another: one is in the air while the caller prepares the next. */
export class SerialOutput {
  readonly #file: DiskFile;
  #inFlight: Promise<void> = Promise.resolve();
  #failure: { readonly reason: unknown } | undefined;

  constructor(file: DiskFile) {
    this.#file = file;
  }

  /**
   * Resolves when this write has begun: `bytes` belong to it until another call resolves.
   *
   * @throws what an earlier write threw
   */
  async write(bytes: Uint8Array, offsetBytes: number): Promise<void> {
    await this.settle();
    this.#inFlight = this.#file.writeAt(bytes, offsetBytes).catch((reason: unknown) => {
      this.#failure = { reason };
    });
  }

  /** Waits for the write in the air. @throws what it threw */
  async settle(): Promise<void> {
    await this.#inFlight;
    if (this.#failure) throw this.#failure.reason;
  }

  /** Waits for the write in the air, whatever becomes of it. */
  async quiesce(): Promise<void> {
    await this.#inFlight;
  }
}

const BUFFER_BLOCKS = 256;

/** Two buffers in turn: one is filled while the other is written. */
class TwinBuffers {
  #current = new Uint8Array(BUFFER_BLOCKS * BLOCK_SIZE);
  #other = new Uint8Array(BUFFER_BLOCKS * BLOCK_SIZE);

  get current(): Uint8Array {
    return this.#current;
  }

  swap(): void {
    [this.#current, this.#other] = [this.#other, this.#current];
  }
}

/** Puts single blocks on the disk. */
export interface BlockPlacer {
  /** Where the next one goes. */
  readonly nextBlock: number;
  /** @returns where it went; `block` is taken */
  place(block: Uint8Array): Promise<number>;
}

/** Told where blocks landed. */
export type PlacedBlocks = (start: number, count: number) => void;

/** Places blocks one after another wherever the allocator says, in writes of a mebibyte. */
export class BlockStream {
  readonly #output: SerialOutput;
  readonly #allocator: BlockAllocator;
  readonly #buffers = new TwinBuffers();
  /** Where the buffer's first block goes. */
  #startBlock = 0;
  #filledBlocks = 0;
  #highWater = 0;

  constructor(output: SerialOutput, allocator: BlockAllocator) {
    this.#output = output;
    this.#allocator = allocator;
  }

  /** Blocks from here on were never written. */
  get highWaterBlock(): number {
    return Math.max(this.#highWater, this.#allocator.next);
  }

  /** Where the next appended block goes. */
  get nextBlock(): number {
    return this.#allocator.next;
  }

  /** @param bytes whole blocks; taken when the promise resolves */
  async append(bytes: Uint8Array, placed: PlacedBlocks): Promise<void> {
    let at = 0;
    while (at < bytes.length) {
      if (this.#filledBlocks === BUFFER_BLOCKS) await this.flush();
      const wanted = (bytes.length - at) / BLOCK_SIZE;
      const { start, count } = this.#allocator.take(Math.min(wanted, BUFFER_BLOCKS - this.#filledBlocks));
      if (start !== this.#startBlock + this.#filledBlocks) {
        await this.flush();
        this.#startBlock = start;
      }
      const end = at + count * BLOCK_SIZE;
      this.#buffers.current.set(bytes.subarray(at, end), this.#filledBlocks * BLOCK_SIZE);
      this.#filledBlocks += count;
      placed(start, count);
      at = end;
    }
  }

  async flush(): Promise<void> {
    if (this.#filledBlocks === 0) return;
    const bytes = this.#buffers.current.subarray(0, this.#filledBlocks * BLOCK_SIZE);
    const startBlock = this.#startBlock;
    this.#startBlock += this.#filledBlocks;
    this.#highWater = Math.max(this.#highWater, this.#startBlock);
    this.#filledBlocks = 0;
    this.#buffers.swap();
    await this.#output.write(bytes, startBlock * BLOCK_SIZE);
  }

  /** Takes back all from `block` on, where a content began. */
  rewind(block: number): void {
    if (block >= this.#startBlock && block <= this.#startBlock + this.#filledBlocks) {
      this.#filledBlocks = block - this.#startBlock;
    } else {
      this.#filledBlocks = 0;
    }
    this.#allocator.moveTo(block);
  }
}

/** Writes small records in a row from a given place on, in writes of a mebibyte. */
export class RecordStream {
  readonly #output: SerialOutput;
  readonly #buffers = new TwinBuffers();
  #offsetBytes = 0;
  #filledBytes = 0;

  constructor(output: SerialOutput) {
    this.#output = output;
  }

  /** The next record goes to `offsetBytes`. */
  async moveTo(offsetBytes: number): Promise<void> {
    if (offsetBytes === this.#offsetBytes + this.#filledBytes) return;
    await this.flush();
    this.#offsetBytes = offsetBytes;
  }

  /** As `moveTo` and `append`. @returns false where that would take a write first: nothing was done then */
  appendNow(record: Uint8Array, offsetBytes: number): boolean {
    if (offsetBytes !== this.#offsetBytes + this.#filledBytes) return false;
    if (this.#filledBytes + record.length > BUFFER_BLOCKS * BLOCK_SIZE) return false;
    this.#buffers.current.set(record, this.#filledBytes);
    this.#filledBytes += record.length;
    return true;
  }

  /** @param record at most a mebibyte; taken when the promise resolves */
  async append(record: Uint8Array): Promise<void> {
    if (this.#filledBytes + record.length > BUFFER_BLOCKS * BLOCK_SIZE) await this.flush();
    this.#buffers.current.set(record, this.#filledBytes);
    this.#filledBytes += record.length;
  }

  async flush(): Promise<void> {
    if (this.#filledBytes === 0) return;
    const bytes = this.#buffers.current.subarray(0, this.#filledBytes);
    const offsetBytes = this.#offsetBytes;
    this.#offsetBytes += this.#filledBytes;
    this.#filledBytes = 0;
    this.#buffers.swap();
    await this.#output.write(bytes, offsetBytes);
  }
}
