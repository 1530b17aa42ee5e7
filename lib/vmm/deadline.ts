import { BangerError } from "../base/errors.ts";
import type { Clock, Connection } from "../base/host.ts";
import { eitherSignal } from "../base/signals.ts";

export interface Deadline {
  readonly timeoutMs: number;
  readonly signal?: AbortSignal;
}

/**
 * Runs a conversation over a connection and closes the connection, at the latest when the time is over or the
 * signal fires. Closing is what ends a pending read, so no read is left behind.
 *
 * @param what whom we talk to, as in "QEMU over /a/qmp.sock"
 * @throws {BangerError} `connection_failed` where the time was over; the signal's reason; else what `talk` throws
 */
export async function withDeadline<T>(
  clock: Clock,
  connection: Connection,
  { timeoutMs, signal }: Deadline,
  what: string,
  talk: () => Promise<T>,
): Promise<T> {
  const finished = new AbortController();
  let timedOut = false;
  const deadline = endOf(clock, timeoutMs, finished.signal, signal).then((end) => {
    timedOut = end === "time";
    if (end !== "finished") connection.close();
  });
  try {
    return await talk();
  } catch (thrown) {
    signal?.throwIfAborted();
    if (!timedOut) throw thrown;
    throw new BangerError(
      "connection_failed",
      `Cannot talk to ${what}: no answer within ${timeoutMs} ms`,
      undefined,
      { cause: thrown },
    );
  } finally {
    finished.abort();
    await deadline;
    connection.close();
  }
}

/** What came first. */
async function endOf(
  clock: Clock,
  ms: number,
  finished: AbortSignal,
  signal: AbortSignal | undefined,
): Promise<"time" | "finished" | "signal"> {
  using either = eitherSignal(finished, signal);
  try {
    await clock.sleep(ms, either.signal);
    return "time";
  } catch (thrown) {
    if (finished.aborted) return "finished";
    if (signal?.aborted) return "signal";
    throw thrown;
  }
}
