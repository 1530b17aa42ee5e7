import { type OpenScratch, type Piece, type Scratch, SCRATCH_BYTES } from "../scratch.ts";

/**
 * The older part of a window, in a scratch: the last bytes of a frame, as many as its window has, each at its
 * place in the frame modulo that size. Opened when the first is put away.
 */
export class FarWindow {
  readonly #windowBytes: number;
  readonly #open: OpenScratch;
  readonly #buffer: Uint8Array;
  #scratch: Scratch | undefined;
  /** Of the frame that were put away. */
  #endBytes = 0;

  /** @param maxReadBytes at once */
  constructor(windowBytes: number, maxReadBytes: number, open: OpenScratch) {
    this.#buffer = new Uint8Array(maxReadBytes);
    this.#windowBytes = windowBytes;
    this.#open = open;
  }

  /** How many bytes of the frame lie here and no longer in memory. */
  get endBytes(): number {
    return this.#endBytes;
  }

  /** Puts away what follows on what was put away before. */
  async append(bytes: Uint8Array): Promise<void> {
    this.#scratch ??= await this.#open();
    for (let at = 0; at < bytes.length;) {
      const target = this.#endBytes % this.#windowBytes;
      const part = bytes.subarray(at, at + Math.min(SCRATCH_BYTES, this.#windowBytes - target));
      await this.#scratch.write(part, target);
      this.#endBytes += part.length;
      at += part.length;
    }
  }

  /**
   * @param pieces by their distance back from `endBytes` and their length, each inside the window
   * @returns them one after another, valid until the next call
   */
  async read(pieces: readonly { readonly back: number; readonly length: number }[]): Promise<Uint8Array> {
    const wanted: Piece[] = [];
    let total = 0;
    for (const { back, length } of pieces) {
      total += length;
      const at = (this.#endBytes - back) % this.#windowBytes;
      const first = Math.min(length, this.#windowBytes - at);
      wanted.push({ at, length: first });
      if (first < length) wanted.push({ at: 0, length: length - first });
    }
    const into = this.#buffer.subarray(0, total);
    await this.#scratch!.read(wanted, into);
    return into;
  }
}
