import { BUFFER_BYTES, BUFFERS, type FromWorker, type ToWorker } from "./worker_messages.ts";

/** The worker's entry where banger runs from source. A bundle brings its own, bundled from the same file. */
export const SOURCE_WORKER_URL = new URL("./gunzip_worker.ts", import.meta.url).href;

/**
 * As `gunzip`, in a thread of its own, so that inflating goes on beside hashing and writing what was inflated.
 * Costs some 30 ms to start: for small input `gunzip` itself is quicker.
 *
 * @param workerUrl a file, since compiled executables have no other kind of worker
 * @param input its chunks are copied: they may be reused when the next one is asked for
 * @returns chunks of up to 256 KiB, each valid until the next is asked for
 * @throws an error with zlib's text; what the input throws
 */
export async function* workerGunzip(
  input: AsyncIterable<Uint8Array>,
  workerUrl: string,
): AsyncGenerator<Uint8Array> {
  const worker = new Worker(workerUrl, { type: "module" });
  const thread = new InflatingThread(worker);
  const feeding = thread.feed(input);
  try {
    yield* thread.outputs();
    await feeding;
  } finally {
    worker.terminate();
    thread.close();
    await Promise.allSettled([feeding]);
  }
}

class InflatingThread {
  readonly #worker: Worker;
  readonly #outputs: Uint8Array<ArrayBuffer>[] = [];
  readonly #empty = Array.from({ length: BUFFERS }, () => new ArrayBuffer(BUFFER_BYTES));
  #isOver = false;
  #failure: { readonly reason: unknown } | undefined;
  #wake = Promise.withResolvers<void>();

  constructor(worker: Worker) {
    this.#worker = worker;
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
    else return this.#fail(new Error(message.message));
    this.#notify();
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

  close(): void {
    this.#isOver = true;
    this.#notify();
  }
}
