import type { Clock, Log, LogLevel } from "./host.ts";

const TELL_AGAIN_MS = 60_000;

/**
 * Tells at most once a minute of each kind of thing that happens again and again: a guest that misbehaves on
 * purpose must not fill the host's disk with that. The first one is told at once, and the next after a minute
 * says how many were not told in between (`untold`).
 */
export class SparingLog {
  readonly #host: { readonly clock: Pick<Clock, "monotonicMs">; readonly log: Log };
  /** By message: messages are ours, so there are few. */
  readonly #told = new Map<string, { atMs: number; untold: number }>();

  constructor(host: { readonly clock: Pick<Clock, "monotonicMs">; readonly log: Log }) {
    this.#host = host;
  }

  tell(level: LogLevel, message: string, fields: Readonly<Record<string, unknown>> = {}): void {
    const nowMs = this.#host.clock.monotonicMs();
    const last = this.#told.get(message);
    if (last && nowMs - last.atMs < TELL_AGAIN_MS) {
      last.untold++;
      return;
    }
    this.#told.set(message, { atMs: nowMs, untold: 0 });
    this.#host.log(level, message, last?.untold ? { ...fields, untold: last.untold } : fields);
  }
}
