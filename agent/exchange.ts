import type { Connection } from "../lib/base/host.ts";
import { BangerError, ERRORS } from "../lib/base/errors.ts";
import type { ByteReader } from "../lib/guest/wire/byte_reader.ts";
import { ByteSender } from "../lib/guest/wire/byte_sender.ts";
import {
  type Body,
  bodyOf,
  encodeChunk,
  encodeResponseHead,
  LAST_CHUNK,
  type RequestHead,
} from "../lib/guest/wire/http.ts";

const STREAM_FIELDS = { "content-type": "application/octet-stream", "transfer-encoding": "chunked" };

/** One request and its answer, both of which may go on at the same time. */
export class Exchange {
  readonly head: RequestHead;
  readonly body: Body;
  readonly #connection: Connection;
  readonly #reader: ByteReader;
  readonly #sender: ByteSender;
  #headSent = false;

  /** @throws {BangerError} `corrupt_data` where the request's length can be read in two ways */
  constructor(connection: Connection, reader: ByteReader, head: RequestHead) {
    this.#connection = connection;
    this.#reader = reader;
    this.#sender = new ByteSender(connection);
    this.head = head;
    this.body = bodyOf(head.fields, reader);
  }

  /** Whether an answer has begun. */
  get isAnswered(): boolean {
    return this.#headSent;
  }

  /** Sends a streamed answer's head in front of any part. @param fields of ours, besides those that all have */
  begin(fields: Readonly<Record<string, string>> = {}): Promise<void> {
    return this.#sender.send(this.#withHead(new Uint8Array(0), fields));
  }

  /** A part of a streamed answer; the first one brings its head along. Wait for it: that is the back-pressure. */
  send(part: Uint8Array): Promise<void> {
    return this.sendChunk(encodeChunk(part));
  }

  /** As `send`, for a part that is a chunk already. */
  sendChunk(chunk: Uint8Array): Promise<void> {
    return this.#sender.send(this.#withHead(chunk));
  }

  /** The last part of a streamed answer. */
  end(part: Uint8Array = new Uint8Array(0)): Promise<void> {
    const chunk = encodeChunk(part);
    const last = new Uint8Array(chunk.length + LAST_CHUNK.length);
    last.set(chunk);
    last.set(LAST_CHUNK, chunk.length);
    return this.#sender.send(this.#withHead(last));
  }

  /** A whole answer. */
  answer(status: number, value?: unknown): Promise<void> {
    this.#headSent = true;
    const body = value === undefined ? new Uint8Array(0) : new TextEncoder().encode(JSON.stringify(value));
    const fields = {
      ...(value === undefined ? {} : { "content-type": "application/json" }),
      ...(status === 204 ? {} : { "content-length": `${body.length}` }),
    };
    const head = encodeResponseHead(status, fields);
    const whole = new Uint8Array(head.length + body.length);
    whole.set(head);
    whole.set(body, head.length);
    return this.#sender.send(whole);
  }

  fail(failure: BangerError): Promise<void> {
    return this.answer(ERRORS[failure.code].status, failure.toBody());
  }

  /** Resolves when the other side has ended the connection. What it still sends is dropped. */
  async untilGone(): Promise<void> {
    try {
      while (await this.#reader.readSome(Infinity) !== null);
    } catch {
      // A connection that fails is gone as well.
    }
  }

  close(): void {
    this.#connection.close();
  }

  #withHead(bytes: Uint8Array, fields: Readonly<Record<string, string>> = {}): Uint8Array {
    if (this.#headSent) return bytes;
    this.#headSent = true;
    const head = encodeResponseHead(200, { ...STREAM_FIELDS, ...fields });
    const whole = new Uint8Array(head.length + bytes.length);
    whole.set(head);
    whole.set(bytes, head.length);
    return whole;
  }
}
