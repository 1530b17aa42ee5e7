import { BangerError } from "../base/errors.ts";

/**
 * Takes exact numbers of bytes from a stream of chunks of any size. Whoever makes one closes it, which ends
 * the stream and whatever stands behind it.
 */
export class ByteReader {
  readonly #chunks: AsyncIterator<Uint8Array>;
  readonly #what: string;
  #chunk: Uint8Array = new Uint8Array(0);

  /** @param what names the stream in errors */
  constructor(chunks: AsyncIterable<Uint8Array>, what: string) {
    this.#chunks = chunks[Symbol.asyncIterator]();
    this.#what = what;
  }

  /**
   * The next piece, of 1 to `maxBytes` bytes. It is valid until the next call.
   *
   * @returns undefined at the end
   */
  async readSome(maxBytes: number): Promise<Uint8Array | undefined> {
    while (this.#chunk.length === 0) {
      const next = await this.#chunks.next();
      if (next.done) return undefined;
      this.#chunk = next.value;
    }
    const piece = this.#chunk.subarray(0, maxBytes);
    this.#chunk = this.#chunk.subarray(piece.length);
    return piece;
  }

  /**
   * Exactly `sizeBytes`, in a buffer of the caller's own.
   *
   * @throws {BangerError} `corrupt_data` where the stream ends before
   */
  async readExactly(sizeBytes: number): Promise<Uint8Array<ArrayBuffer>> {
    const whole = new Uint8Array(sizeBytes);
    for (let filled = 0; filled < sizeBytes;) {
      const piece = await this.#expect(sizeBytes - filled);
      whole.set(piece, filled);
      filled += piece.length;
    }
    return whole;
  }

  /** As `readExactly`, but `undefined` where the stream ends right here. */
  async readExactlyOrEnd(sizeBytes: number): Promise<Uint8Array<ArrayBuffer> | undefined> {
    const first = await this.readSome(sizeBytes);
    if (first === undefined) return undefined;
    const head = first.slice();
    const rest = await this.readExactly(sizeBytes - head.length);
    const whole = new Uint8Array(sizeBytes);
    whole.set(head);
    whole.set(rest, head.length);
    return whole;
  }

  /** @throws {BangerError} `corrupt_data` where the stream ends before */
  async skip(sizeBytes: number): Promise<void> {
    for (let left = sizeBytes; left > 0;) left -= (await this.#expect(left)).length;
  }

  /** Reads what is left, so that checksums at the end are checked. */
  async drain(): Promise<void> {
    while (await this.readSome(Number.MAX_SAFE_INTEGER));
  }

  async close(): Promise<void> {
    await this.#chunks.return?.();
  }

  async #expect(maxBytes: number): Promise<Uint8Array> {
    const piece = await this.readSome(maxBytes);
    if (piece) return piece;
    throw new BangerError(
      "corrupt_data",
      `Cannot read ${this.#what}: it ends too early`,
      "Fetch the file again",
    );
  }
}
