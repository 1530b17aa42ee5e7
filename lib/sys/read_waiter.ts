import { checked, libc, O_CLOEXEC } from "./libc.ts";

const POLLIN = 1;
const EFD_NONBLOCK = 0o4000;
/** struct pollfd: fd (i32), events (i16), revents (i16) */
const POLLFD_BYTES = 8;

/**
 * Waits for a descriptor of our own to become readable, on a thread of the runtime's pool: Deno can read only
 * descriptors that it has opened. Closes the descriptor when it is closed.
 */
export class ReadWaiter {
  readonly #descriptor: number;
  /** Written to when the running `poll` must end. */
  readonly #wake: number;
  readonly #list: Uint8Array<ArrayBuffer>;
  #isWaiting = false;
  #closed = false;

  constructor(descriptor: number) {
    this.#descriptor = descriptor;
    this.#wake = checked("eventfd", libc().eventfd(0, O_CLOEXEC | EFD_NONBLOCK));
    this.#list = new Uint8Array(2 * POLLFD_BYTES);
    const view = new DataView(this.#list.buffer);
    view.setInt32(0, descriptor, true);
    view.setInt16(4, POLLIN, true);
    view.setInt32(POLLFD_BYTES, this.#wake, true);
    view.setInt16(POLLFD_BYTES + 4, POLLIN, true);
  }

  /** One call at a time. @returns false once it is closed; else there is something to read, or an error to get */
  async wait(): Promise<boolean> {
    if (this.#closed) return false;
    this.#isWaiting = true;
    try {
      await libc().poll(this.#list, 2n, -1);
    } finally {
      this.#isWaiting = false;
      if (this.#closed) this.#release();
    }
    return !this.#closed;
  }

  /** Idempotent. Ends the wait that is under way. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    // The thread that polls still has the descriptors: they go when it is back.
    if (this.#isWaiting) libc().write(this.#wake, new Uint8Array(new BigUint64Array([1n]).buffer), 8n);
    else this.#release();
  }

  #release(): void {
    libc().close(this.#descriptor);
    libc().close(this.#wake);
  }
}
