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
