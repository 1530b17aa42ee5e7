/// <reference lib="deno.worker" />
/** The entry of a worker that decompresses one stream: see `threaded.ts`. */
import { BangerError, reasonOf } from "../../base/errors.ts";
import { type Codec, decodeInto } from "./codecs.ts";
import { type Piece, type Scratch, SCRATCH_BYTES } from "./scratch.ts";
import { BUFFER_BYTES, BUFFERS, type FromWorker, type ToWorker } from "./worker_messages.ts";

function send(message: FromWorker, transfer: Transferable[] = []): void {
  self.postMessage(message, transfer);
}

/** Messages as they come, and somebody to wake. */
class Inbox {
  readonly #inputs: Uint8Array<ArrayBuffer>[] = [];
  readonly #empty: ArrayBuffer[] = [];
  #made = 0;
  #codec: Codec | undefined;
  #scratched: ArrayBuffer | undefined;
  #hasEnded = false;
  #wake = Promise.withResolvers<void>();

  take(message: ToWorker): void {
    if (message.kind === "begin") this.#codec = message.codec;
    else if (message.kind === "input") this.#inputs.push(message.bytes);
    else if (message.kind === "input-end") this.#hasEnded = true;
    else if (message.kind === "scratch") this.#scratched = message.buffer;
    else this.#empty.push(message.buffer);
    this.#wake.resolve();
    this.#wake = Promise.withResolvers();
  }

  async codec(): Promise<Codec> {
    while (this.#codec === undefined) await this.#wake.promise;
    return this.#codec;
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

  async emptyBuffer(): Promise<Uint8Array<ArrayBuffer>> {
    for (;;) {
      const buffer = this.#empty.pop() ?? this.#newBuffer();
      if (buffer !== undefined) return new Uint8Array(buffer);
      await this.#wake.promise;
    }
  }

  /** The answer to what was just asked of the scratch. */
  async scratched(): Promise<ArrayBuffer> {
    for (;;) {
      const answer = this.#scratched;
      this.#scratched = undefined;
      if (answer !== undefined) return answer;
      await this.#wake.promise;
    }
  }

  /** Not more of them than are needed: a quick reader takes part in fewer. */
  #newBuffer(): ArrayBuffer | undefined {
    if (this.#made === BUFFERS) return undefined;
    this.#made++;
    return new ArrayBuffer(BUFFER_BYTES);
  }
}

/** The scratch of the thread that has the files, which opens it when it is first asked and closes it at the end. */
class FarScratch implements Scratch {
  readonly #inbox: Inbox;
  #buffer = new ArrayBuffer(SCRATCH_BYTES);

  constructor(inbox: Inbox) {
    this.#inbox = inbox;
  }

  async write(bytes: Uint8Array, at: number): Promise<void> {
    const copy = new Uint8Array(this.#buffer, 0, bytes.length);
    copy.set(bytes);
    send({ kind: "scratch-write", bytes: copy, at }, [this.#buffer]);
    this.#buffer = await this.#inbox.scratched();
  }

  async read(pieces: readonly Piece[], into: Uint8Array): Promise<void> {
    const bytes = new Uint8Array(this.#buffer, 0, into.length);
    send({ kind: "scratch-read", pieces, bytes }, [this.#buffer]);
    this.#buffer = await this.#inbox.scratched();
    into.set(new Uint8Array(this.#buffer, 0, into.length));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return Promise.resolve();
  }
}

async function run(inbox: Inbox): Promise<void> {
  try {
    const openScratch = () => Promise.resolve(new FarScratch(inbox));
    const codec = await inbox.codec();
    const chunks = decodeInto(codec, inbox.inputs(), () => inbox.emptyBuffer(), openScratch);
    for await (const bytes of chunks) send({ kind: "output", bytes }, [bytes.buffer]);
    send({ kind: "output-end" });
  } catch (failure) {
    const error = failure instanceof BangerError ? { error: failure.toBody() } : {};
    send({ kind: "failure", message: reasonOf(failure), ...error });
  }
}

const inbox = new Inbox();
self.onmessage = (event: MessageEvent<ToWorker>) => inbox.take(event.data);
await run(inbox);
