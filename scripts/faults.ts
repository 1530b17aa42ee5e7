/**
 * Fault rounds: the daemon is killed at every step of what it does, and every step is made to fail. What must hold
 * afterwards stands in `tests/faults/checks.ts`, what was found in docs/reliability.md.
 *
 * deno task faults [--rounds N] [--slice I/N] [--only create,pull,…] [--kind kill|fail|real] [--seed N] [--minutes N]
 *   [--results FILE] [--lanes N]
 *
 * With `--results` what was done is kept in the file, one line a round, and a run goes on where the last one ended;
 * a round that had a problem is done again. Most of a round is waiting, so several are done side by side, each with a
 * home and a daemon of its own.
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
  seededRandom,
} from "../tests/faults/rounds.ts";
import { type Operation, OPERATIONS } from "../tests/faults/operations.ts";
import { RESTART, restartEffects } from "../tests/faults/restart_rounds.ts";
import { type Entry, entryOf, Results, summary } from "../tests/faults/results.ts";
import { realRounds } from "../tests/faults/real_rounds.ts";

type Plan = Round["plan"];
interface Planned {
  readonly key: string;
  readonly plan: Plan;
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
    results: { type: "string" },
    lanes: { type: "string", default: "2" },
  },
});
const rounds = Number(values.rounds);
const [slice, slices] = values.slice.split("/").map(Number) as [number, number];
const endMs = performance.now() + Number(values.minutes) * 60_000;
const results = await Results.open(values.results, Number(values.seed));
const random = seededRandom(results.seed);
const isOver = () => performance.now() > endMs;

/** Each slice has every point, in some of its rounds. */
function killPlans(effects: Effects): Planned[] {
  return killPoints(effects).flatMap((point) =>
    Array.from({ length: rounds }, (_, round) => ({
      key: `${point}, round ${round + 1}`,
      plan: killPlan(effects, point, round, random),
    })).filter((_, round) => round % slices === slice - 1)
  );
}

/** Each slice has every effect, with another error. */
function failPlansOfSlice(effects: Effects): Planned[] {
  const points = Object.keys(effects);
  return failPlans(effects).flatMap((plan) => {
    if (plan.kind !== "fail") return [];
    const error = (FAULT_ERRORS as readonly string[]).indexOf(plan.error);
    const isOfSlice = (points.indexOf(plan.point) + error + 1) % slices === slice - 1;
    return isOfSlice ? [{ key: `${plan.point}, ${plan.error}`, plan }] : [];
  });
}

async function keep(entry: Entry): Promise<void> {
  for (const problem of entry.problems) console.log(`  PROBLEM ${entry.key} (${entry.outcome}): ${problem}`);
  await results.add(entry);
}

/** What the operation does, on a lane that is then ready for its rounds. */
function prepareLane(arena: Arena, operation: Operation): Promise<Effects> {
  return operation.name === RESTART.name ? restartEffects(arena) : arena.record(operation);
}

/** The operation's rounds of this slice. @param lanes where each runs; one that broke is replaced */
async function runOperation(lanes: Arena[], operation: Operation, kind: "kill" | "fail"): Promise<void> {
  const group = `${operation.name}, ${kind}`;
  const [effects] = await Promise.all(lanes.map((lane) => prepareLane(lane, operation)));
  const planned = (kind === "kill" ? killPlans(effects!) : failPlansOfSlice(effects!))
    .map(({ key, plan }) => ({ key: `${group}: ${key}`, plan }))
    .filter(({ key }) => !results.isDone(key));
  await Promise.all(
    lanes.keys().map(async (lane) => {
      for (let next; !isOver() && (next = planned.shift());) {
        const { key, plan } = next;
        try {
          await keep(entryOf(key, group, await lanes[lane]!.run(operation, plan)));
        } catch (thrown) {
          const problem = `the round broke: ${JSON.stringify(plan)}: ${(thrown as Error).stack}`;
          await keep({
            key,
            group,
            point: plan.point,
            hasFired: true,
            outcome: "broken",
            problems: [problem],
          });
          await lanes[lane]![Symbol.asyncDispose]();
          lanes[lane] = await Arena.open();
          await prepareLane(lanes[lane]!, operation);
        }
      }
    }),
  );
  report(group);
}

function report(group: string): void {
  console.log(summary(group, results.all.filter((entry) => entry.group === group)));
}

console.log(`seed ${results.seed}, slice ${slice} of ${slices}, ${rounds} rounds a point`);
const chosen = [...OPERATIONS, RESTART].filter(({ name }) =>
  !values.only || values.only.split(",").includes(name)
);
if (values.kind !== "real") {
  const lanes = await Promise.all(Array.from({ length: Number(values.lanes) }, () => Arena.open()));
  try {
    for (const kind of ["kill", "fail"] as const) {
      if (values.kind !== undefined && values.kind !== kind) continue;
      for (const operation of chosen) if (!isOver()) await runOperation(lanes, operation, kind);
    }
  } finally {
    for (const lane of lanes) await lane[Symbol.asyncDispose]();
  }
}
if (values.kind === undefined || values.kind === "real") {
  const group = "real machine";
  await realRounds(rounds, random, {
    isWanted: (scenario, round) =>
      !isOver() && round % slices === slice - 1 &&
      !results.isDone(`${group}: ${scenario}, round ${round + 1}`),
    done: (scenario, round, problem) =>
      keep({
        key: `${group}: ${scenario}, round ${round + 1}`,
        group,
        point: scenario,
        hasFired: true,
        outcome: "done",
        problems: problem === undefined ? [] : [problem],
      }),
  });
  report(group);
}
const problems = results.all.flatMap((entry) => entry.problems);
if (isOver()) console.log("the time is up");
console.log(`${results.all.length} rounds, ${problems.length} problems`);
Deno.exit(problems.length === 0 ? 0 : 1);
