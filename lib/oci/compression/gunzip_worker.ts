/// <reference lib="deno.worker" />
/** The entry of a worker that inflates one gzip stream: see `worker_gunzip.ts`. */
import { reasonOf } from "../../base/errors.ts";
import { gunzip } from "./gzip.ts";
import { BUFFER_BYTES, BUFFERS, type FromWorker, type ToWorker } from "./worker_messages.ts";

function send(message: FromWorker, transfer: Transferable[] = []): void {
  self.postMessage(message, transfer);
}

/** Messages as they come, and somebody to wake. */
class Inbox {
  readonly #inputs: Uint8Array<ArrayBuffer>[] = [];
  readonly #empty = Array.from({ length: BUFFERS }, () => new ArrayBuffer(BUFFER_BYTES));
  #hasEnded = false;
  #wake = Promise.withResolvers<void>();

  take(message: ToWorker): void {
    if (message.kind === "input") this.#inputs.push(message.bytes);
    else if (message.kind === "input-end") this.#hasEnded = true;
    else this.#empty.push(message.buffer);
    this.#wake.resolve();
    this.#wake = Promise.withResolvers();
  }

  async *inputs(): AsyncGenerator<Uint8Array> {
    for (;;) {
      const next = this.#inputs.shift();
      if (next !== undefined) {
        yield next;
        const { buffer } = next;
        send({ kind: "empty", buffer }, [buffer]);
      } else if (this.#hasEnded) return;
      else await this.#wake.promise;
    }
  }

  async emptyBuffer(): Promise<ArrayBuffer> {
    for (;;) {
      const buffer = this.#empty.pop();
      if (buffer !== undefined) return buffer;
      await this.#wake.promise;
    }
  }
}

async function run(inbox: Inbox): Promise<void> {
  try {
    for await (const chunk of gunzip(inbox.inputs())) {
      for (let at = 0; at < chunk.length; at += BUFFER_BYTES) {
        const part = chunk.subarray(at, at + BUFFER_BYTES);
        const buffer = await inbox.emptyBuffer();
        const bytes = new Uint8Array(buffer, 0, part.length);
        bytes.set(part);
        send({ kind: "output", bytes }, [buffer]);
      }
    }
    send({ kind: "output-end" });
  } catch (failure) {
    send({ kind: "failure", message: reasonOf(failure) });
  }
}

const inbox = new Inbox();
self.onmessage = (event: MessageEvent<ToWorker>) => inbox.take(event.data);
await run(inbox);
