import { bytesOf, checked, type Libc, O_CLOEXEC, O_NONBLOCK } from "./libc.ts";

export const POLLIN = 1;
export const POLLOUT = 4;
export const POLLHUP = 16;

interface Waiter {
  readonly fd: number;
  readonly events: number;
  readonly wake: (events: number) => void;
}

/**
 * Waits for any number of descriptors in one call of `poll`, on one thread of Deno's pool. (Deno can read
 * descriptors of others only through files, and each waiting read takes one of 32 threads.)
 */
export class Poller implements AsyncDisposable {
  readonly #libc: Libc;
  /** Readable when the running `poll` must look at its list again. */
  readonly #wakeFd: number;
  readonly #waiters = new Set<Waiter>();
  #polling = false;
  #isRunning = false;
  #running: Promise<void> = Promise.resolve();
  #closed = false;

  constructor(libc: Libc) {
    this.#libc = libc;
    this.#wakeFd = checked(libc, "eventfd", libc.call.eventfd(0, O_CLOEXEC | O_NONBLOCK));
  }

  /** @returns the events that came, errors and hang-ups included; 0 after `forget` */
  wait(fd: number, events: number): Promise<number> {
    if (this.#closed) return Promise.resolve(0);
    return new Promise((resolve) => {
      this.#waiters.add({ fd, events, wake: resolve });
      this.#start();
      this.#interrupt();
    });
  }

  /** Ends all waiting for `fd`; to be called before it is closed. */
  forget(fd: number): void {
    for (const waiter of [...this.#waiters]) {
      if (waiter.fd !== fd) continue;
      this.#waiters.delete(waiter);
      waiter.wake(0);
    }
    this.#interrupt();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    for (const waiter of this.#waiters) waiter.wake(0);
    this.#waiters.clear();
    this.#interrupt();
    await this.#running;
    this.#libc.call.close(this.#wakeFd);
  }

  #start(): void {
    if (this.#isRunning) return;
    this.#isRunning = true;
    this.#running = this.#run();
  }

  async #run(): Promise<void> {
    while (this.#waiters.size > 0) {
      // Those who were woken have a turn to wait again, so that the next call has them on its list.
      for (let turn = 0; turn < 4; turn++) await Promise.resolve();
      if (this.#waiters.size === 0) break;
      const waiters = [...this.#waiters];
      const list = new PollList([{ fd: this.#wakeFd, events: POLLIN }, ...waiters]);
      this.#polling = true;
      const ready = await this.#libc.call.poll(list.bytes, BigInt(list.length), -1);
      this.#polling = false;
      // Negative: EINTR or out of memory for a moment; the list is simply asked again.
      if (ready <= 0) continue;
      if (list.eventsAt(0)) this.#libc.call.read(this.#wakeFd, new Uint8Array(8), 8n);
      waiters.forEach((waiter, i) => {
        const events = list.eventsAt(i + 1);
        if (events !== 0 && this.#waiters.delete(waiter)) waiter.wake(events);
      });
    }
    // In the turn that saw nobody waiting: who comes in the next must start it again.
    this.#isRunning = false;
  }

  #interrupt(): void {
    if (this.#polling) this.#libc.call.write(this.#wakeFd, bytesOf(BigUint64Array.of(1n)), 8n);
  }
}

/** `struct pollfd[]` */
class PollList {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly length: number;
  readonly #view: DataView;

  constructor(entries: readonly { fd: number; events: number }[]) {
    this.length = entries.length;
    this.bytes = new Uint8Array(8 * entries.length);
    this.#view = new DataView(this.bytes.buffer);
    entries.forEach(({ fd, events }, i) => {
      this.#view.setInt32(8 * i, fd, true);
      this.#view.setInt16(8 * i + 4, events, true);
    });
  }

  /** `revents` */
  eventsAt(index: number): number {
    return this.#view.getInt16(8 * index + 6, true);
  }
}
