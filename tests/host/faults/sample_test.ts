/** A sample of `deno task faults`, another one each time: the seed that is printed gives the same again. */
import assert from "node:assert/strict";
import { OPERATIONS } from "../../faults/operations.ts";
import { RESTART, restartEffects } from "../../faults/restart_rounds.ts";
import { Arena, type Effects, failPlans, killPlan, killPoints, seededRandom } from "../../faults/rounds.ts";

const ROUNDS = 8;
const seed = Number(Deno.env.get("BANGER_FAULT_SEED") ?? Date.now() % 1_000_000);

Deno.test({
  name: `faults: ${ROUNDS} rounds of BANGER_FAULT_SEED=${seed} lose nothing and leave nothing`,
  // Daemons and machines are other processes; the kit's directory goes with this one.
  sanitizeResources: false,
  sanitizeOps: false,
  async fn(t) {
    const random = seededRandom(seed);
    const pick = <T>(items: readonly T[]): T => items[Math.floor(random() * items.length)]!;
    await using arena = await Arena.open();
    const effects = new Map<string, Effects>();
    for (let round = 0; round < ROUNDS; round++) {
      // A kill and a failure in turn, among the operations in turn.
      const operation = [...OPERATIONS, RESTART][round % (OPERATIONS.length + 1)]!;
      const known = effects.get(operation.name) ??
        await (operation === RESTART ? restartEffects(arena) : arena.record(operation));
      effects.set(operation.name, known);
      const plan = random() < 0.5
        ? killPlan(known, pick(killPoints(known)), Math.floor(random() * 5), random)
        : pick(failPlans(known));
      await t.step(`${operation.name}: ${plan.kind} at ${plan.point}`, async () => {
        const { problems } = await arena.run(operation, plan);
        assert.equal(problems.length, 0, `seed ${seed}, ${JSON.stringify(plan)}:\n${problems.join("\n")}`);
      });
    }
  },
});
