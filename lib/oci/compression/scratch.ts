import type { RandomAccessFile } from "../../base/host.ts";
import { MIB } from "../../base/units.ts";

/** A part of a scratch. */
export interface Piece {
  readonly at: number;
  readonly length: number;
}

/** In one call: where the scratch lies in another thread, a buffer of that size goes to and fro. */
export const SCRATCH_BYTES = MIB;

/** Bytes that are kept outside of memory for a while. Calls come one at a time. */
export interface Scratch extends AsyncDisposable {
  /** @param bytes at most `SCRATCH_BYTES`; they may be changed once it resolves */
  write(bytes: Uint8Array, at: number): Promise<void>;
  /**
   * Reads what was written, the pieces one after another.
   *
   * @param into as long as they are together, at most `SCRATCH_BYTES`
   */
  read(pieces: readonly Piece[], into: Uint8Array): Promise<void>;
}

export type OpenScratch = () => Promise<Scratch>;

/** A file, which is closed with it. */
export class FileScratch implements Scratch {
  readonly #file: RandomAccessFile;

  constructor(file: RandomAccessFile) {
    this.#file = file;
  }

  write(bytes: Uint8Array, at: number): Promise<void> {
    return this.#file.writeAt(bytes, at);
  }

  async read(pieces: readonly Piece[], into: Uint8Array): Promise<void> {
    let filled = 0;
    for (const { at, length } of pieces) {
      await this.#file.readAt(into.subarray(filled, filled + length), at);
      filled += length;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file[Symbol.asyncDispose]();
  }
}
