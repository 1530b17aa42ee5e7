import type { Clock } from "../../../lib/base/host.ts";

/** A clock on which waiting takes a twentieth of its time. */
export const fastClock: Clock = {
  now: () => Date.now(),
  monotonicMs: () => performance.now() * 20,
  sleep(ms, signal) {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason);
      const onAbort = () => {
        clearTimeout(timer);
        reject(signal?.reason);
      };
      const timer = setTimeout(() => {
        signal?.removeEventListener("abort", onAbort);
        resolve();
      }, ms / 20);
      signal?.addEventListener("abort", onAbort, { once: true });
    });
  },
};
