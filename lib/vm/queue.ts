import type { VmId } from "../base/names.ts";

/** Orders the changes of each VM: one after the other for one, side by side for different ones. */
export class VmQueues {
  readonly #tails = new Map<VmId, Promise<void>>();
  readonly #afterEach: (id: VmId) => Promise<void>;

  /** @param afterEach runs as a part of each change, whether it failed or not, before its caller goes on */
  constructor(afterEach: (id: VmId) => Promise<void> = () => Promise.resolve()) {
    this.#afterEach = afterEach;
  }

  async run<T>(id: VmId, change: () => Promise<T>): Promise<T> {
    const before = this.#tails.get(id) ?? Promise.resolve();
    const running = before.then(change).finally(() => this.#afterEach(id));
    const tail = running.then(() => {}, () => {});
    this.#tails.set(id, tail);
    try {
      return await running;
    } finally {
      if (this.#tails.get(id) === tail) this.#tails.delete(id);
    }
  }

  /** Whether a change is under way or waits. */
  isBusy(id: VmId): boolean {
    return this.#tails.has(id);
  }
}
