const FIRST_TIMEOUT_MS = 1000;
const MOST_TIMEOUT_MS = 16_000;
const MAX_TIMEOUTS = 8;

/** When a connection is to send again what was not acknowledged: each time twice as late, until it is too often. */
export class RetransmissionTimer {
  #sinceMs: number;
  #timeoutMs = FIRST_TIMEOUT_MS;
  #timeouts = 0;

  constructor(nowMs: number) {
    this.#sinceMs = nowMs;
  }

  /** Nothing waits for an acknowledgement. */
  rest(nowMs: number): void {
    this.#sinceMs = nowMs;
  }

  /** Something was acknowledged. */
  progress(nowMs: number): void {
    this.#sinceMs = nowMs;
    this.#timeoutMs = FIRST_TIMEOUT_MS;
    this.#timeouts = 0;
  }

  /**
   * @param counts whether too many of them are the connection's end
   * @returns whether it is time to send again
   */
  expires(nowMs: number, counts: boolean): "no" | "yes" | "for good" {
    if (nowMs - this.#sinceMs < this.#timeoutMs) return "no";
    this.#sinceMs = nowMs;
    this.#timeoutMs = Math.min(2 * this.#timeoutMs, MOST_TIMEOUT_MS);
    if (counts) this.#timeouts++;
    return this.#timeouts > MAX_TIMEOUTS ? "for good" : "yes";
  }
}
