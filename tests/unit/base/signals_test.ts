import assert from "node:assert/strict";
import { eitherSignal } from "../../../lib/base/signals.ts";

for (const which of [0, 1]) {
  Deno.test(`eitherSignal() fires with the reason of the first, here number ${which}`, () => {
    const controllers = [new AbortController(), new AbortController()];
    using either = eitherSignal(controllers[0]!.signal, undefined, controllers[1]!.signal);
    const reasons: unknown[] = [];
    either.signal.addEventListener("abort", () => reasons.push(either.signal.reason));
    assert(!either.signal.aborted);
    controllers[which]!.abort("first");
    controllers[1 - which]!.abort("second");
    assert.deepEqual(reasons, ["first"]);
  });
}

Deno.test("eitherSignal() of one that has fired has fired; disposed, it no longer does", () => {
  const open = new AbortController();
  assert.equal(eitherSignal(open.signal, AbortSignal.abort("done")).signal.reason, "done");
  const left = eitherSignal(open.signal);
  left[Symbol.dispose]();
  open.abort("late");
  assert(!left.signal.aborted);
});

/** A program of its own, since only there garbage can be collected when it matters. */
const COLLECTED = `
const { eitherSignal } = await import(Deno.args[0]);
const never = new AbortController().signal;
const fired = (signal) => new Promise((resolve) => signal.addEventListener("abort", resolve));
const waited = () => {
  const timeout = new AbortController();
  setTimeout(() => timeout.abort(), 20);
  return fired(eitherSignal(never, timeout.signal).signal);
};
const waiting = waited();
setTimeout(() => gc(), 5);
await waiting;
`;

Deno.test("eitherSignal() fires though nobody but its listener knows it", async () => {
  const module = new URL("../../../lib/base/signals.ts", import.meta.url).href;
  const program = `data:text/javascript,${encodeURIComponent(COLLECTED)}`;
  const { code, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-check", "--allow-read", "--v8-flags=--expose-gc", program, module],
    stdout: "null",
    stderr: "piped",
  }).output();
  assert.equal(code, 0, new TextDecoder().decode(stderr));
});
