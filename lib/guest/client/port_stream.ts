import { writeFully } from "../../base/bytes.ts";
import type { Connection } from "../../base/host.ts";
import { type Body, encodeChunk, LAST_CHUNK } from "../wire/http.ts";
import type { GuestStream } from "./endpoint.ts";

const MAX_CHUNK_BYTES = 64 * 1024;

/** A TCP connection inside the guest, in the chunks of one HTTP exchange. */
export class PortStream implements Connection {
  readonly #stream: GuestStream;
  readonly #body: Body;
  #rest: Uint8Array = new Uint8Array(0);
  #writeEnded = false;

  constructor(stream: GuestStream, body: Body) {
    this.#stream = stream;
    this.#body = body;
  }

  async read(into: Uint8Array): Promise<number | null> {
    if (this.#rest.length === 0) {
      const next = await this.#body.read();
      if (next === null) return null;
      this.#rest = next;
    }
    const part = this.#rest.subarray(0, into.length);
    into.set(part);
    this.#rest = this.#rest.subarray(part.length);
    return part.length;
  }

  async write(bytes: Uint8Array): Promise<number> {
    const part = bytes.subarray(0, MAX_CHUNK_BYTES);
    await this.#send(encodeChunk(part));
    return part.length;
  }

  async closeWrite(): Promise<void> {
    if (this.#writeEnded) return;
    this.#writeEnded = true;
    await this.#send(LAST_CHUNK);
  }

  close(): void {
    this.#stream.connection.close();
  }

  async #send(bytes: Uint8Array): Promise<void> {
    await writeFully((part) => this.#stream.connection.write(part), bytes);
  }
}
