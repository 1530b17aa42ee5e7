/**
 * Runs one effect and remembers its undo.
 *
 * @returns what `act` made
 */
export type Step = <T>(
  name: string,
  act: () => Promise<T>,
  undo?: (made: T) => Promise<void>,
) => Promise<T>;

/**
 * Waits for what runs side by side, each to its end: what follows a failure, such as an undo, finds nothing under way.
 *
 * @throws the failure of the first of them that failed, in the order in which they are given
 */
export async function allEnded<T extends readonly unknown[]>(
  ...running: { readonly [K in keyof T]: Promise<T[K]> }
): Promise<T> {
  await Promise.allSettled(running);
  return await Promise.all(running) as unknown as T;
}

/**
 * Runs `body`; on failure, undoes finished steps newest first, then rethrows that failure.
 *
 * For effects that survive success. What ends with its scope uses `await using` instead.
 *
 * @param undoFailed told of each undo that failed; the others still run
 */
export async function withRollback<T>(
  body: (step: Step) => Promise<T>,
  undoFailed: (step: string, reason: unknown) => void,
): Promise<T> {
  const done: { name: string; undo: () => Promise<void> }[] = [];
  try {
    return await body(async (name, act, undo) => {
      const made = await act();
      if (undo) done.unshift({ name, undo: () => undo(made) });
      return made;
    });
  } catch (failure) {
    for (const { name, undo } of done) {
      try {
        await undo();
      } catch (reason) {
        undoFailed(name, reason);
      }
    }
    throw failure;
  }
}
