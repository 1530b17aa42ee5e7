import type { RandomAccessFile } from "../../base/host.ts";

/** A part of a scratch. */
export interface Piece {
  readonly at: number;
  readonly length: number;
}

/** Bytes that are kept outside of memory for a while. Calls come one at a time. */
export interface Scratch extends AsyncDisposable {
  /** @param bytes may be changed once it resolves */
  write(bytes: Uint8Array, at: number): Promise<void>;
  /** What was written there: the pieces one after another, valid until the next call. */
  read(pieces: readonly Piece[]): Promise<Uint8Array>;
}

export type OpenScratch = () => Promise<Scratch>;

/** A file, which is closed with it. */
export class FileScratch implements Scratch {
  readonly #file: RandomAccessFile;
  #buffer = new Uint8Array(0);

  constructor(file: RandomAccessFile) {
    this.#file = file;
  }

  write(bytes: Uint8Array, at: number): Promise<void> {
    return this.#file.writeAt(bytes, at);
  }

  async read(pieces: readonly Piece[]): Promise<Uint8Array> {
    const total = pieces.reduce((sum, { length }) => sum + length, 0);
    if (this.#buffer.length < total) this.#buffer = new Uint8Array(total);
    let filled = 0;
    for (const { at, length } of pieces) {
      await this.#file.readAt(this.#buffer.subarray(filled, filled + length), at);
      filled += length;
    }
    return this.#buffer.subarray(0, total);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file[Symbol.asyncDispose]();
  }
}
