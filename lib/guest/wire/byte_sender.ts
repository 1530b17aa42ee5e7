import { concatBytes, writeFully } from "../../base/bytes.ts";
import type { Connection } from "../../base/host.ts";

/**
 * Writes of several producers to one connection, whole and in the order of the calls. What waits while
 * one write is under way goes out in the next together, so that many small parts cost few system calls.
 */
export class ByteSender {
  readonly #connection: Pick<Connection, "write">;
  #waiting: Uint8Array[] = [];
  #running: Promise<void> | undefined;
  #next: Promise<void> | undefined;

  constructor(connection: Pick<Connection, "write">) {
    this.#connection = connection;
  }

  /**
   * The caller waits for the promise before it goes on: that is the back-pressure, and what bounds the
   * memory.
   *
   * @param bytes not to be changed until then
   */
  send(bytes: Uint8Array): Promise<void> {
    this.#waiting.push(bytes);
    if (!this.#running) return this.#start();
    this.#next ??= this.#running.then(() => this.#start());
    return this.#next;
  }

  #start(): Promise<void> {
    const parts = this.#waiting;
    this.#waiting = [];
    this.#next = undefined;
    const whole = parts.length === 1 ? parts[0]! : concatBytes(parts);
    const running = writeFully((bytes) => this.#connection.write(bytes), whole).finally(() => {
      if (this.#running === running) this.#running = undefined;
    });
    this.#running = running;
    return running;
  }
}
