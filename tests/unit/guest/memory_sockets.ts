import { BangerError } from "../../../lib/base/errors.ts";
import type { Connection, Listener, Sockets } from "../../../lib/base/host.ts";
import { connectionPair } from "./memory_connection.ts";

/** Unix sockets in memory. */
export class MemorySockets implements Sockets {
  readonly #listeners = new Map<string, MemoryListener>();

  connectUnix(path: string): Promise<Connection> {
    const listener = this.#listeners.get(path);
    if (!listener) {
      return Promise.reject(
        new BangerError("connection_failed", `Cannot connect to ${path}: nothing listens there`),
      );
    }
    const [ours, theirs] = connectionPair();
    listener.push(theirs);
    return Promise.resolve(ours);
  }

  listenUnix(path: string): Promise<Listener> {
    const listener = new MemoryListener(() => this.#listeners.delete(path));
    this.#listeners.set(path, listener);
    return Promise.resolve(listener);
  }

  removeStaleSocket(path: string): Promise<boolean> {
    return Promise.resolve(!this.#listeners.has(path));
  }

  connectVsock(cid: number, port: number): Promise<Connection> {
    return this.connectUnix(`vsock:${cid}:${port}`);
  }
}

class MemoryListener implements Listener {
  readonly #waiting: Connection[] = [];
  readonly #onClose: () => void;
  #closed = false;
  #wake = () => {};

  constructor(onClose: () => void) {
    this.#onClose = onClose;
  }

  push(connection: Connection): void {
    this.#waiting.push(connection);
    this.#wake();
  }

  close(): void {
    this.#closed = true;
    this.#onClose();
    this.#wake();
  }

  async *[Symbol.asyncIterator](): AsyncIterator<Connection> {
    while (!this.#closed) {
      const next = this.#waiting.shift();
      if (next) yield next;
      else await new Promise<void>((resolve) => this.#wake = resolve);
    }
  }
}
