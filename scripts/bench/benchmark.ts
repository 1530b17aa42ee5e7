/** How benchmarks are measured and told: ours and the peer in turn, in one run, as a ratio of medians. */

export interface Sample {
  readonly oursMs: number;
  readonly peerMs: number;
}

export interface Benchmark {
  readonly name: string;
  /** What is measured, and against what. */
  readonly summary: string;
  /** The bound that the project has set itself: ours divided by the peer's is at most this; else Infinity. */
  readonly maxRatio: number;
  readonly runs: number;
  /** What it measures needs no first pair to warm up caches, and takes too long for one. */
  readonly isWarm?: boolean;
  /** @returns a function for one pair of runs, and what must be undone afterwards */
  prepare(): Promise<{ pair(): Promise<Sample>; notes?(): readonly string[] } & AsyncDisposable>;
}

export interface Outcome {
  readonly name: string;
  /** Medians, in milliseconds. */
  readonly ours: number;
  readonly peer: number;
  readonly ratio: number;
  readonly maxRatio: number;
  readonly runs: number;
  /** Of the ratio, over the pairs. */
  readonly spread: readonly [number, number];
  readonly notes: readonly string[];
}

export async function measure(benchmark: Benchmark): Promise<Outcome> {
  await using prepared = await benchmark.prepare();
  if (!benchmark.isWarm) await prepared.pair(); // caches warm up on both sides
  const samples: Sample[] = [];
  for (let run = 0; run < benchmark.runs; run++) samples.push(await prepared.pair());
  const ratios = samples.map(({ oursMs, peerMs }) => oursMs / peerMs);
  return {
    name: benchmark.name,
    ours: round(median(samples.map(({ oursMs }) => oursMs))),
    peer: round(median(samples.map(({ peerMs }) => peerMs))),
    ratio: round(median(ratios)),
    maxRatio: benchmark.maxRatio,
    runs: benchmark.runs,
    spread: [round(Math.min(...ratios)), round(Math.max(...ratios))],
    notes: [...prepared.notes?.() ?? [], `pairs, ms: ${samples.map(pairText).join(", ")}`],
  };
}

/** Whether it was ours or the peer that a spread comes from. */
function pairText({ oursMs, peerMs }: Sample): string {
  return `${oursMs.toFixed(0)}/${peerMs.toFixed(0)}`;
}

export async function timedMs(act: () => Promise<unknown>): Promise<number> {
  const startMs = performance.now();
  await act();
  return performance.now() - startMs;
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

function round(value: number): number {
  return Math.round(value * 1000) / 1000;
}
