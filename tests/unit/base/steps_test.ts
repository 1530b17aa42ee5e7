import assert from "node:assert/strict";
import { BangerError, firstFailure } from "../../../lib/base/errors.ts";
import { mayBecome, TRANSITIONS, type VmState, wrongState } from "../../../lib/base/states.ts";
import { allEnded, withRollback } from "../../../lib/base/steps.ts";

const STEPS = ["a", "b", "c", "d"];

for (const [index, failing] of STEPS.entries()) {
  Deno.test(`withRollback() undoes what came before step ${failing}, newest first`, async () => {
    const log: string[] = [];
    const failure = new Error("no");
    await assert.rejects(
      withRollback(async (step) => {
        for (const name of STEPS) {
          await step(name, () => {
            if (name === failing) return Promise.reject(failure);
            log.push(`do ${name}`);
            return Promise.resolve(name);
          }, (made) => {
            log.push(`undo ${made}`);
            return Promise.resolve();
          });
        }
      }, () => assert.fail("no undo fails")),
      (thrown) => thrown === failure,
    );
    const before = STEPS.slice(0, index);
    assert.deepEqual(log, [
      ...before.map((name) => `do ${name}`),
      ...before.toReversed().map((name) => `undo ${name}`),
    ]);
  });
}

Deno.test("an undo that fails is told and keeps no other from running", async () => {
  const undone: string[] = [];
  const told: string[] = [];
  await assert.rejects(
    withRollback(async (step) => {
      await step("a", () => Promise.resolve(), () => Promise.resolve(void undone.push("a")));
      await step("b", () => Promise.resolve(), () => Promise.reject(new Error("stuck")));
      throw new Error("body");
    }, (name, reason) => told.push(`${name}: ${(reason as Error).message}`)),
    /body/,
  );
  assert.deepEqual(undone, ["a"]);
  assert.deepEqual(told, ["b: stuck"]);
});

Deno.test("every state can be left but `removing`, which ends in no row", () => {
  for (const [state, next] of Object.entries(TRANSITIONS)) {
    assert.equal(next.length === 0, state === "removing");
    for (const to of next) assert.ok(mayBecome(state as VmState, to));
  }
  assert.ok(!mayBecome("running", "removing"), "a running VM is never removed as it is");
});

Deno.test("refusals name the state and the way out", () => {
  const error = wrongState("start", "web", "running");
  assert.match(error.message, /Cannot start VM web: it is running/);
  assert.match(error.hint ?? "", /banger vm stop web/);
});

Deno.test("firstFailure() finds the cause behind the failure of a disposal", async () => {
  const body = new Error("body");
  try {
    await using _resource = { [Symbol.asyncDispose]: () => Promise.reject(new Error("disposal")) };
    throw body;
  } catch (thrown) {
    assert.equal(firstFailure(thrown), body);
  }
});

Deno.test("an error body from outside is taken only where it is one", () => {
  assert.equal(BangerError.fromBody({ code: "not_found", message: "x", hint: "y" }, "z").hint, "y");
  for (
    const body of [undefined, null, 7, {}, { code: "toString", message: "x" }, {
      code: "not_found",
      message: 7,
    }]
  ) {
    assert.equal(BangerError.fromBody(body, "z").code, "internal");
  }
});

Deno.test("allEnded() gives what each came to, in the order in which they were given", async () => {
  const slow = new Promise<string>((resolve) => setTimeout(() => resolve("slow"), 5));
  assert.deepEqual(await allEnded(slow, Promise.resolve(2)), ["slow", 2]);
});

Deno.test("allEnded() waits for the others where one fails, and tells the first failure in their order", async () => {
  const ended: string[] = [];
  const ends = (name: string, ms: number, failure?: Error) =>
    new Promise<void>((resolve, reject) =>
      setTimeout(() => {
        ended.push(name);
        failure ? reject(failure) : resolve();
      }, ms)
    );
  const [first, second] = [new Error("first"), new Error("second")];
  const all = allEnded(ends("a", 15), ends("b", 10, first), ends("c", 1, second));
  await assert.rejects(all, (thrown) => thrown === first);
  assert.deepEqual(ended, ["c", "b", "a"]);
});
