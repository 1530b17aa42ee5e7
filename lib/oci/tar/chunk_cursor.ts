/**
 * Reads a stream of chunks piece by piece, without copying what lies within one chunk.
 *
 * Views that it gives out are valid until the next call.
 */
export class ChunkCursor {
  readonly #input: AsyncIterator<Uint8Array>;
  #chunk: Uint8Array = new Uint8Array(0);
  #offset = 0;
  #ended = false;

  constructor(input: AsyncIterable<Uint8Array>) {
    this.#input = input[Symbol.asyncIterator]();
  }

  /** Makes sure that there is at least one byte. @returns false at the end of the input */
  async #fill(): Promise<boolean> {
    while (this.#offset === this.#chunk.length) {
      if (this.#ended) return false;
      const { value, done } = await this.#input.next();
      if (done) {
        this.#ended = true;
        return false;
      }
      this.#chunk = value;
      this.#offset = 0;
    }
    return true;
  }

  /** Exactly `length` bytes if they lie in the current chunk: the fast way past one `await`. */
  takeNow(length: number): Uint8Array | undefined {
    if (this.#chunk.length - this.#offset < length) return undefined;
    return this.#chunk.subarray(this.#offset, this.#offset += length);
  }

  /** @returns `length` bytes, or fewer where the input ends before */
  async take(length: number): Promise<Uint8Array> {
    const direct = this.takeNow(length);
    if (direct !== undefined) return direct;
    const whole = new Uint8Array(length);
    let filled = 0;
    while (filled < length && await this.#fill()) {
      const part = this.#next(length - filled);
      whole.set(part, filled);
      filled += part.length;
    }
    return whole.subarray(0, filled);
  }

  #next(atMost: number): Uint8Array {
    const end = Math.min(this.#chunk.length, this.#offset + atMost);
    const part = this.#chunk.subarray(this.#offset, end);
    this.#offset = end;
    return part;
  }

  /** Between 1 and `atMost` bytes as they lie. @returns undefined at the end of the input */
  takeSome(atMost: number): Promise<Uint8Array | undefined> {
    if (this.#offset < this.#chunk.length) return Promise.resolve(this.#next(atMost));
    return this.#fill().then((filled) => filled ? this.#next(atMost) : undefined);
  }

  /** Skips if all of it lies in the current chunk. @returns whether it did */
  skipNow(length: number): boolean {
    if (this.#chunk.length - this.#offset < length) return false;
    this.#offset += length;
    return true;
  }

  /** @returns how many bytes were there to skip */
  async skip(length: number): Promise<number> {
    let skipped = 0;
    while (skipped < length && await this.#fill()) skipped += this.#next(length - skipped).length;
    return skipped;
  }

  /** Reads the rest, so that a hash over the input covers all of it. */
  async drain(): Promise<void> {
    this.#offset = this.#chunk.length;
    while (await this.#fill()) this.#offset = this.#chunk.length;
  }

  /** Tells the input that nobody wants more. Idempotent. */
  async close(): Promise<void> {
    this.#offset = this.#chunk.length;
    if (this.#ended) return;
    this.#ended = true;
    await this.#input.return?.();
  }
}
