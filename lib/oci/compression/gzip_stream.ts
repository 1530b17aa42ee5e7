import { createGunzip, type Gunzip } from "node:zlib";
import { KIB } from "../../base/units.ts";

/** As fast as larger ones, and what zlib throws away behind them is smaller. */
const CHUNK_BYTES = 256 * KIB;

/**
 * As `gunzip`, by the public interface of node:zlib alone. Chunks as they come rather than by iterating the
 * stream, which joins and so copies them.
 *
 * @returns chunks of up to 256 KiB
 */
export async function* gunzipStream(input: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const stream = createGunzip({ chunkSize: CHUNK_BYTES });
  const output = new PausedOutput(stream);
  const feeding = feed(stream, input);
  try {
    for (let chunk = await output.next(); chunk !== undefined; chunk = await output.next()) yield chunk;
  } finally {
    stream.destroy();
    await feeding;
  }
}

/** Lets the stream run only while its next chunk is waited for, so that nothing piles up. */
class PausedOutput {
  readonly #stream: Gunzip;
  readonly #chunks: Uint8Array[] = [];
  #isOver = false;
  #failure: { reason: unknown } | undefined;
  #wake: () => void = () => {};

  constructor(stream: Gunzip) {
    this.#stream = stream;
    stream.on("data", (chunk: Uint8Array) => {
      this.#chunks.push(chunk);
      stream.pause();
      this.#wake();
    });
    stream.on("error", (reason: unknown) => {
      this.#failure ??= { reason };
      this.#wake();
    });
    for (const event of ["end", "close"]) {
      stream.on(event, () => {
        this.#isOver = true;
        this.#wake();
      });
    }
    stream.pause();
  }

  /** @returns undefined after the last */
  async next(): Promise<Uint8Array | undefined> {
    while (this.#chunks.length === 0 && !this.#isOver && this.#failure === undefined) {
      const woken = new Promise<void>((resolve) => this.#wake = resolve);
      this.#stream.resume();
      await woken;
    }
    const chunk = this.#chunks.shift();
    if (chunk === undefined && this.#failure !== undefined) throw this.#failure.reason;
    return chunk;
  }
}

/** Never rejects: a failure of the input ends the stream with that failure. */
async function feed(stream: Gunzip, input: AsyncIterable<Uint8Array>): Promise<void> {
  const closed = new Promise<void>((resolve) => stream.once("close", resolve));
  try {
    for await (const chunk of input) {
      const taken = new Promise<void>((resolve) => stream.write(chunk, () => resolve()));
      await Promise.race([taken, closed]);
      if (stream.destroyed) return;
    }
    stream.end();
  } catch (failure) {
    stream.destroy(failure instanceof Error ? failure : new Error(String(failure)));
  }
}
