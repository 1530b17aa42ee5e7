/** A file of rounds that were done, one JSON line each, so that a run can be continued and told as one. */
import type { RoundResult } from "./rounds.ts";

export interface Entry {
  /** Says which round of the plan it is: the same in every run with that seed. */
  readonly key: string;
  /** Of the table: operation and kind of fault. */
  readonly group: string;
  readonly point: string;
  readonly hasFired: boolean;
  readonly outcome: string;
  readonly reconcileMs?: number;
  readonly problems: readonly string[];
}

export class Results {
  readonly seed: number;
  readonly #path: string | undefined;
  readonly #entries: Map<string, Entry>;

  private constructor(seed: number, path: string | undefined, entries: readonly Entry[]) {
    this.seed = seed;
    this.#path = path;
    this.#entries = new Map(entries.map((entry) => [entry.key, entry]));
  }

  /** @param path none: nothing is kept @param seed what the file says wins */
  static async open(path: string | undefined, seed: number): Promise<Results> {
    if (path === undefined) return new Results(seed, path, []);
    const text = await Deno.readTextFile(path).catch((thrown) => {
      if (thrown instanceof Deno.errors.NotFound) return undefined;
      throw thrown;
    });
    if (text === undefined) {
      await Deno.writeTextFile(path, `${JSON.stringify({ seed })}\n`);
      return new Results(seed, path, []);
    }
    // What a killed run wrote last may be half a line.
    const [head, ...lines] = text.split("\n").slice(0, -1).map((line) => JSON.parse(line));
    return new Results((head as { seed: number }).seed, path, lines as Entry[]);
  }

  get all(): Entry[] {
    return [...this.#entries.values()];
  }

  /** One with a problem is done again, since by then it should be mended. */
  isDone(key: string): boolean {
    return this.#entries.get(key)?.problems.length === 0;
  }

  async add(entry: Entry): Promise<void> {
    this.#entries.set(entry.key, entry);
    if (this.#path) await Deno.writeTextFile(this.#path, `${JSON.stringify(entry)}\n`, { append: true });
  }
}

export function entryOf(key: string, group: string, result: RoundResult): Entry {
  const { round, hasFired, outcome, reconcileMs, problems } = result;
  const start = reconcileMs === undefined ? {} : { reconcileMs };
  return { key, group, point: round.plan.point, hasFired, outcome, ...start, problems };
}

/** The table's row of a group. */
export function summary(group: string, entries: readonly Entry[]): string {
  const fired = entries.filter(({ hasFired }) => hasFired);
  const starts = entries.flatMap(({ reconcileMs }) => reconcileMs ?? []).sort((a, b) => a - b);
  const at = (share: number) => Math.round(starts[Math.floor((starts.length - 1) * share)] ?? 0);
  const problems = entries.reduce((sum, entry) => sum + entry.problems.length, 0);
  return `${group}: ${new Set(fired.map(({ point }) => point)).size} points, ${entries.length} rounds, ` +
    `${fired.length} faults came about; start after it ${at(0.5)} ms median, ${at(1)} ms at most; ` +
    `${problems} problems`;
}
