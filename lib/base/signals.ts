/** A signal of several, until it is disposed. */
export interface EitherSignal extends Disposable {
  readonly signal: AbortSignal;
}

/**
 * Fires when the first of the signals does, with its reason. Stands for `AbortSignal.any`, whose signals Deno 2.4
 * collects as garbage while somebody listens to them, so that they never fire.
 *
 * Dispose it to stop listening: then it never fires.
 */
export function eitherSignal(...signals: readonly (AbortSignal | undefined)[]): EitherSignal {
  const controller = new AbortController();
  const ends: (() => void)[] = [];
  const stop = () => {
    for (const end of ends.splice(0)) end();
  };
  for (const signal of signals) {
    if (signal === undefined) continue;
    if (signal.aborted) {
      stop();
      controller.abort(signal.reason);
      break;
    }
    const onAbort = () => {
      stop();
      controller.abort(signal.reason);
    };
    signal.addEventListener("abort", onAbort, { once: true });
    ends.push(() => signal.removeEventListener("abort", onAbort));
  }
  return { signal: controller.signal, [Symbol.dispose]: stop };
}
