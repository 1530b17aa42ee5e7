/**
 * Fault rounds: the daemon is killed at every step of what it does, and every step is made to fail. What must hold
 * afterwards stands in `tests/faults/checks.ts`, what was found in docs/reliability.md.
 *
 * deno task faults [--rounds N] [--slice I/N] [--only create,pull,…] [--kind kill|fail|real] [--seed N] [--minutes N]
 */
import { parseArgs } from "node:util";
import { FAULT_ERRORS } from "../tests/faults/gate.ts";
import {
  Arena,
  type Effects,
  failPlans,
  killPlan,
  killPoints,
  type Round,
  type RoundResult,
  seededRandom,
} from "../tests/faults/rounds.ts";
import { type Operation, OPERATIONS } from "../tests/faults/operations.ts";
import { RESTART, restartEffects } from "../tests/faults/restart_rounds.ts";
import { realRounds } from "../tests/faults/real_rounds.ts";

interface Tally {
  rounds: number;
  fired: number;
  readonly points: Set<string>;
  readonly reconcileMs: number[];
  readonly problems: string[];
}

const newTally = (): Tally => ({ rounds: 0, fired: 0, points: new Set(), reconcileMs: [], problems: [] });

function add(tally: Tally, { round, hasFired, outcome, reconcileMs, problems }: RoundResult): void {
  tally.rounds++;
  if (hasFired) {
    tally.fired++;
    tally.points.add(round.plan.point);
  }
  if (reconcileMs !== undefined) tally.reconcileMs.push(reconcileMs);
  for (const problem of problems) {
    const text = `${JSON.stringify(round)} (${outcome}): ${problem}`;
    tally.problems.push(text);
    console.log(`  PROBLEM ${text}`);
  }
}

function report(name: string, { rounds, fired, points, reconcileMs, problems }: Tally): void {
  const sorted = reconcileMs.toSorted((a, b) => a - b);
  const at = (share: number) => Math.round(sorted[Math.floor((sorted.length - 1) * share)] ?? 0);
  console.log(
    `${name}: ${points.size} points, ${rounds} rounds, ${fired} faults came about; ` +
      `start after it ${at(0.5)} ms median, ${at(1)} ms at most; ${problems.length} problems`,
  );
}

const { values } = parseArgs({
  args: Deno.args,
  options: {
    rounds: { type: "string", default: "20" },
    slice: { type: "string", default: "1/1" },
    only: { type: "string" },
    kind: { type: "string" },
    seed: { type: "string", default: String(Date.now() % 1_000_000) },
    minutes: { type: "string", default: "600" },
  },
});
const rounds = Number(values.rounds);
const [slice, slices] = values.slice.split("/").map(Number) as [number, number];
const endMs = performance.now() + Number(values.minutes) * 60_000;
const random = seededRandom(Number(values.seed));
const isOver = () => performance.now() > endMs;

/** Each slice has every point, in some of its rounds. */
function killPlans(effects: Effects): Round["plan"][] {
  return killPoints(effects).flatMap((point) =>
    Array.from({ length: rounds }, (_, round) => killPlan(effects, point, round, random))
      .filter((_, round) => round % slices === slice - 1)
  );
}

/** Each slice has every effect, with another error. */
function isOfSlice(effects: Effects): (plan: Round["plan"]) => boolean {
  const points = Object.keys(effects);
  return (plan) => {
    if (plan.kind !== "fail") return false;
    const error = (FAULT_ERRORS as readonly string[]).indexOf(plan.error);
    return (points.indexOf(plan.point) + error + 1) % slices === slice - 1;
  };
}

/** The operation's rounds of this slice. */
async function runOperation(arena: Arena, operation: Operation, kind: "kill" | "fail"): Promise<Arena> {
  const effects = operation.name === RESTART.name
    ? await restartEffects(arena)
    : await arena.record(operation);
  const plans = kind === "kill" ? killPlans(effects) : failPlans(effects).filter(isOfSlice(effects));
  const tally = newTally();
  let current = arena;
  for (const plan of plans) {
    if (isOver()) {
      console.log(`  the time is up after ${tally.rounds} rounds`);
      break;
    }
    try {
      add(tally, await current.run(operation, plan));
    } catch (thrown) {
      tally.problems.push(`${operation.name} ${JSON.stringify(plan)}: ${thrown}`);
      console.log(
        `  PROBLEM the round broke: ${operation.name} ${JSON.stringify(plan)}: ${(thrown as Error).stack}`,
      );
      await current[Symbol.asyncDispose]();
      current = await Arena.open();
      await current.record(operation);
    }
  }
  report(`${operation.name}, ${kind}`, tally);
  total.push(tally);
  return current;
}

const total: Tally[] = [];
console.log(`seed ${values.seed}, slice ${slice} of ${slices}, ${rounds} rounds a point`);
const chosen = [...OPERATIONS, RESTART].filter(({ name }) =>
  !values.only || values.only.split(",").includes(name)
);
if (values.kind !== "real") {
  let arena = await Arena.open();
  try {
    for (const kind of ["kill", "fail"] as const) {
      if (values.kind !== undefined && values.kind !== kind) continue;
      for (const operation of chosen) if (!isOver()) arena = await runOperation(arena, operation, kind);
    }
  } finally {
    await arena[Symbol.asyncDispose]();
  }
}
if (values.kind === undefined || values.kind === "real") {
  const { rounds: count, problems, lines } = await realRounds(rounds, random, isOver);
  for (const line of lines) console.log(line);
  total.push({ ...newTally(), rounds: count, problems: [...problems] });
}
const problems = total.flatMap((tally) => tally.problems);
console.log(`${total.reduce((sum, tally) => sum + tally.rounds, 0)} rounds, ${problems.length} problems`);
Deno.exit(problems.length === 0 ? 0 : 1);
