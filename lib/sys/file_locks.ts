import type { Clock } from "../base/host.ts";
import {
  checked,
  cString,
  errno,
  libc,
  LOCK_EX,
  LOCK_NB,
  LOCK_UN,
  O_CLOEXEC,
  O_CREAT,
  O_RDWR,
} from "./libc.ts";
import { osError, SystemCallError } from "./os_errors.ts";

const EWOULDBLOCK = 11;
const POLL_MS = 20;

/** @returns undefined where somebody else holds the lock */
export function tryLock(path: string): AsyncDisposable | undefined {
  const { open, flock, close } = libc();
  try {
    const descriptor = checked("open", open(cString(path), O_RDWR | O_CREAT | O_CLOEXEC, 0o600));
    if (flock(descriptor, LOCK_EX | LOCK_NB) < 0) {
      const failure = errno();
      close(descriptor);
      if (failure === EWOULDBLOCK) return undefined;
      throw new SystemCallError("flock", failure);
    }
    let held = true;
    return {
      [Symbol.asyncDispose]() {
        if (held) {
          // Said, not left to close: a child that is just being started has the descriptor too, until it runs.
          flock(descriptor, LOCK_UN);
          close(descriptor);
        }
        held = false;
        return Promise.resolve();
      },
    };
  } catch (thrown) {
    throw osError(`lock ${path}`, thrown);
  }
}

export async function lock(clock: Clock, path: string): Promise<AsyncDisposable> {
  for (;;) {
    const held = tryLock(path);
    if (held) return held;
    await clock.sleep(POLL_MS);
  }
}
