import assert from "node:assert/strict";
import { SparingLog } from "../../../lib/base/sparing_log.ts";

Deno.test("what happens all the time is told at once, then once a minute with a count", () => {
  let nowMs = 5;
  const told: unknown[] = [];
  const sparing = new SparingLog({
    clock: { monotonicMs: () => nowMs },
    log: (level, message, fields) => told.push([level, message, fields]),
  });
  for (let count = 0; count < 1000; count++) sparing.tell("warn", "nonsense", { count });
  sparing.tell("error", "something else");
  assert.deepEqual(told, [["warn", "nonsense", { count: 0 }], ["error", "something else", {}]]);
  nowMs += 60_000;
  sparing.tell("warn", "nonsense", { count: 1000 });
  sparing.tell("warn", "nonsense", { count: 1001 });
  sparing.tell("error", "something else");
  assert.deepEqual(told.slice(2), [
    ["warn", "nonsense", { count: 1000, untold: 999 }],
    ["error", "something else", {}],
  ]);
});
