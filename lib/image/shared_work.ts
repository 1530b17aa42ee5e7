import type { Progress } from "../base/host.ts";

interface Running<T> {
  readonly result: Promise<T>;
  readonly controller: AbortController;
  readonly listeners: Set<Progress>;
  /** For whoever joins late. */
  stage: string | undefined;
}

/**
 * Work that several callers want at once is done once: who comes later joins. It is given up when the last
 * of its callers gave up; different keys never wait for each other.
 */
export class SharedWork<T> {
  readonly #running = new Map<string, Running<T>>();

  /**
   * @param start begins the work where nobody did; its signal fires when nobody wants it any more
   * @throws the signal's reason; for the last caller only after the work has cleaned up
   */
  async join(
    key: string,
    progress: Progress,
    signal: AbortSignal,
    start: (progress: Progress, signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    signal.throwIfAborted();
    for (let old = this.#running.get(key); old?.controller.signal.aborted; old = this.#running.get(key)) {
      await settled(old.result);
      signal.throwIfAborted();
    }
    const running = this.#running.get(key) ?? this.#start(key, start);
    // Each call listens on its own, even where two share one Progress.
    const listener: Progress = {
      stage: (name) => progress.stage(name),
      update: (done, total) => progress.update(done, total),
      note: (text) => progress.note(text),
    };
    running.listeners.add(listener);
    if (running.stage !== undefined) progress.stage(running.stage);
    const gaveUp = Promise.withResolvers<"gave up">();
    const giveUp = () => {
      running.listeners.delete(listener);
      if (running.listeners.size === 0) running.controller.abort(signal.reason);
      gaveUp.resolve("gave up");
    };
    signal.addEventListener("abort", giveUp, { once: true });
    try {
      const outcome = await Promise.race([running.result, gaveUp.promise]);
      if (outcome !== "gave up") return outcome as T;
      if (running.controller.signal.aborted) await settled(running.result);
      throw signal.reason;
    } finally {
      running.listeners.delete(listener);
      signal.removeEventListener("abort", giveUp);
    }
  }

  #start(key: string, start: (progress: Progress, signal: AbortSignal) => Promise<T>): Running<T> {
    const listeners = new Set<Progress>();
    const controller = new AbortController();
    const toAll: Progress = {
      stage: (name) => {
        running.stage = name;
        for (const listener of listeners) listener.stage(name);
      },
      update: (done, total) => {
        for (const listener of listeners) listener.update(done, total);
      },
      note: (text) => {
        for (const listener of listeners) listener.note(text);
      },
    };
    const result = Promise.resolve().then(() => start(toAll, controller.signal))
      .finally(() => this.#running.delete(key));
    const running: Running<T> = { result, controller, listeners, stage: undefined };
    this.#running.set(key, running);
    return running;
  }
}

/** Waits for the end, whichever it is: its failure goes to those who wait for the result. */
async function settled(work: Promise<unknown>): Promise<void> {
  await Promise.allSettled([work]);
}
