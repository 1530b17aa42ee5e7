import type { Host } from "../base/host.ts";

const POLL_MS = 50;

/**
 * Runs `act` while holding a lock file, which several processes may want.
 *
 * @throws the signal's reason when it fires while waiting
 */
export async function withFileLock<T>(
  { files, clock }: Pick<Host, "files" | "clock">,
  path: string,
  signal: AbortSignal,
  act: () => Promise<T>,
): Promise<T> {
  for (;;) {
    signal.throwIfAborted();
    const held = await files.tryLock(path);
    if (held) {
      await using _lock = held;
      return await act();
    }
    await clock.sleep(POLL_MS, signal);
  }
}
