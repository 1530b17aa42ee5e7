import { BangerError } from "../../base/errors.ts";
import type { Codec, Decode } from "./codecs.ts";
import type { OpenScratch, Scratch } from "./scratch.ts";
import { BUFFER_BYTES, BUFFERS, type FromWorker, type ToWorker } from "./worker_messages.ts";

/** The worker's entry where banger runs from source. A bundle brings its own, bundled from the same file. */
export const SOURCE_WORKER_URL = new URL("./decompress_worker.ts", import.meta.url).href;

/**
 * Decompresses in a thread of its own, so that this goes on beside hashing and writing what came out. Costs some
 * 30 ms to start: for small input `decodeHere` is quicker.
 *
 * @param workerUrl a file, since compiled executables have no other kind of worker
 * @param openScratch for large windows of zstd; it is opened and used in this thread
 */
export function decodeInThread(workerUrl: string, openScratch: OpenScratch): Decode {
  return (codec, input) => decode(codec, input, workerUrl, openScratch);
}

/**
 * @param input its chunks are copied: they may be reused when the next one is asked for
 * @returns chunks of up to 1 MiB, each valid until the next is asked for
 * @throws an error with zlib's text; {BangerError} of the zstd decoder; what the input throws
 */
async function* decode(
  codec: Codec,
  input: AsyncIterable<Uint8Array>,
  workerUrl: string,
  openScratch: OpenScratch,
): AsyncGenerator<Uint8Array> {
  const worker = new Worker(workerUrl, { type: "module" });
  const thread = new DecodingThread(worker, codec, openScratch);
  const feeding = thread.feed(input);
  // The input may fail while nobody asks for output: whoever asks next is told.
  feeding.catch(() => {});
  try {
    yield* thread.outputs();
    await feeding;
  } finally {
    worker.terminate();
    thread.stop();
    await Promise.allSettled([feeding]);
    await thread.closeScratch();
  }
}

class DecodingThread {
  readonly #worker: Worker;
  readonly #outputs: Uint8Array<ArrayBuffer>[] = [];
  readonly #empty: ArrayBuffer[] = [];
  #made = 0;
  #isOver = false;
  #failure: { readonly reason: unknown } | undefined;
  #wake = Promise.withResolvers<void>();
  readonly #openScratch: OpenScratch;
  #scratch: Scratch | undefined;
  /** What the worker asked of it last; the worker waits for the answer. */
  #scratching: Promise<void> = Promise.resolve();

  constructor(worker: Worker, codec: Codec, openScratch: OpenScratch) {
    this.#worker = worker;
    this.#openScratch = openScratch;
    this.#send({ kind: "begin", codec });
    worker.onmessage = (event: MessageEvent<FromWorker>) => this.#take(event.data);
    worker.onerror = (event) => {
      event.preventDefault();
      this.#fail(new Error(event.message));
    };
  }

  #take(message: FromWorker): void {
    if (message.kind === "output") this.#outputs.push(message.bytes);
    else if (message.kind === "empty") this.#empty.push(message.buffer);
    else if (message.kind === "output-end") this.#isOver = true;
    else if (message.kind === "failure") return this.#fail(failureOf(message));
    else {
      this.#scratching = this.#useScratch(message).catch((reason) => this.#fail(reason));
      return;
    }
    this.#notify();
  }

  async #useScratch(message: Extract<FromWorker, { kind: "scratch-write" | "scratch-read" }>): Promise<void> {
    if (this.#hasStopped()) return;
    this.#scratch ??= await this.#openScratch();
    if (message.kind === "scratch-write") await this.#scratch.write(message.bytes, message.at);
    else await this.#scratch.read(message.pieces, message.bytes);
    const { buffer } = message.bytes;
    this.#send({ kind: "scratch", buffer }, [buffer]);
  }

  async closeScratch(): Promise<void> {
    await this.#scratching;
    await this.#scratch?.[Symbol.asyncDispose]();
  }

  #fail(reason: unknown): void {
    this.#failure ??= { reason };
    this.#notify();
  }

  #notify(): void {
    this.#wake.resolve();
    this.#wake = Promise.withResolvers();
  }

  #send(message: ToWorker, transfer: Transferable[] = []): void {
    this.#worker.postMessage(message, transfer);
  }

  /** A failure of the input becomes the output's. */
  async feed(input: AsyncIterable<Uint8Array>): Promise<void> {
    try {
      for await (const chunk of input) {
        for (let at = 0; at < chunk.length; at += BUFFER_BYTES) {
          const buffer = await this.#emptyBuffer();
          if (buffer === undefined) return;
          const part = chunk.subarray(at, at + BUFFER_BYTES);
          const bytes = new Uint8Array(buffer, 0, part.length);
          bytes.set(part);
          this.#send({ kind: "input", bytes }, [buffer]);
        }
      }
      this.#send({ kind: "input-end" });
    } catch (failure) {
      this.#fail(failure);
      throw failure;
    }
  }

  /** @returns undefined once nobody reads any more */
  async #emptyBuffer(): Promise<ArrayBuffer | undefined> {
    while (!this.#hasStopped()) {
      const buffer = this.#empty.pop();
      if (buffer !== undefined) return buffer;
      if (this.#made < BUFFERS) {
        this.#made++;
        return new ArrayBuffer(BUFFER_BYTES);
      }
      await this.#wake.promise;
    }
    return undefined;
  }

  async *outputs(): AsyncGenerator<Uint8Array> {
    for (;;) {
      const chunk = this.#outputs.shift();
      if (chunk !== undefined) {
        yield chunk;
        const { buffer } = chunk;
        this.#send({ kind: "empty", buffer }, [buffer]);
      } else if (this.#failure !== undefined) throw this.#failure.reason;
      else if (this.#isOver) return;
      else await this.#wake.promise;
    }
  }

  #hasStopped(): boolean {
    return this.#isOver || this.#failure !== undefined;
  }

  stop(): void {
    this.#isOver = true;
    this.#notify();
  }
}

function failureOf({ message, error }: Extract<FromWorker, { kind: "failure" }>): Error {
  return error === undefined ? new Error(message) : new BangerError(error.code, error.message, error.hint);
}
