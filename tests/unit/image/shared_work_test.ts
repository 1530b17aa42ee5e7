import assert from "node:assert/strict";
import type { Progress } from "../../../lib/base/host.ts";
import { SharedWork } from "../../../lib/image/shared_work.ts";

function recorder(): Progress & { readonly heard: string[] } {
  const heard: string[] = [];
  return {
    heard,
    stage: (name) => heard.push(`stage ${name}`),
    update: (done) => heard.push(`update ${done}`),
    note: (text) => heard.push(`note ${text}`),
  };
}

const NEVER = () => new AbortController().signal;
const turn = () => new Promise((resolve) => setTimeout(resolve, 0));

Deno.test("SharedWork does once what two want at once, and tells both how it goes", async () => {
  const work = new SharedWork<number>();
  const gate = Promise.withResolvers<void>();
  let starts = 0;
  const start = async (progress: Progress) => {
    starts++;
    progress.stage("one");
    await gate.promise;
    progress.update(5);
    progress.note("done");
    return 42;
  };
  const [first, second] = [recorder(), recorder()];
  const firstResult = work.join("a", first, NEVER(), start);
  await turn();
  const secondResult = work.join("a", second, NEVER(), start);
  gate.resolve();
  assert.deepEqual(await Promise.all([firstResult, secondResult]), [42, 42]);
  assert.equal(starts, 1);
  assert.deepEqual(first.heard, ["stage one", "update 5", "note done"]);
  assert.deepEqual(second.heard, ["stage one", "update 5", "note done"]);
});

Deno.test("SharedWork starts again for who comes after the end, also after a failure", async () => {
  const work = new SharedWork<number>();
  let starts = 0;
  const start = () =>
    Promise.resolve().then(() => {
      if (++starts === 1) throw new Error("first");
      return starts;
    });
  await assert.rejects(work.join("a", recorder(), NEVER(), start), /first/);
  assert.equal(await work.join("a", recorder(), NEVER(), start), 2);
  assert.equal(await work.join("a", recorder(), NEVER(), start), 3);
});

Deno.test("SharedWork runs different keys side by side", async () => {
  const work = new SharedWork<string>();
  const gates = { a: Promise.withResolvers<string>(), b: Promise.withResolvers<string>() };
  const a = work.join("a", recorder(), NEVER(), () => gates.a.promise);
  const b = work.join("b", recorder(), NEVER(), () => gates.b.promise);
  gates.b.resolve("b");
  assert.equal(await b, "b");
  gates.a.resolve("a");
  assert.equal(await a, "a");
});

/** Work that ends when its signal fires, after it has cleaned up. */
function cancellable(events: string[]) {
  return async (_: Progress, signal: AbortSignal): Promise<never> => {
    events.push("start");
    await new Promise((resolve) => signal.addEventListener("abort", resolve));
    await turn();
    events.push("cleaned up");
    throw signal.reason;
  };
}

Deno.test("SharedWork goes on while one of its callers still wants it", async () => {
  const work = new SharedWork<number>();
  const gate = Promise.withResolvers<number>();
  const impatient = new AbortController();
  let aborted = false;
  const start = (_: Progress, signal: AbortSignal) => {
    signal.addEventListener("abort", () => aborted = true);
    return gate.promise;
  };
  const stays = work.join("a", recorder(), NEVER(), start);
  const leaves = work.join("a", recorder(), impatient.signal, start);
  impatient.abort(new Error("enough"));
  await assert.rejects(leaves, /enough/);
  assert.equal(aborted, false);
  gate.resolve(7);
  assert.equal(await stays, 7);
});

Deno.test("SharedWork is given up with its last caller, who waits until it has cleaned up", async () => {
  const work = new SharedWork<never>();
  const events: string[] = [];
  const controllers = [new AbortController(), new AbortController()];
  const results = controllers.map(({ signal }) => work.join("a", recorder(), signal, cancellable(events)));
  await turn();
  controllers[0]!.abort(new Error("first gave up"));
  await assert.rejects(results[0]!, /first gave up/);
  assert.deepEqual(events, ["start"]);
  controllers[1]!.abort(new Error("second gave up"));
  await assert.rejects(results[1]!, /second gave up/);
  assert.deepEqual(events, ["start", "cleaned up"]);
});

Deno.test("SharedWork never joins work that was given up: it waits for its end and starts anew", async () => {
  const work = new SharedWork<string>();
  const events: string[] = [];
  const controller = new AbortController();
  const first = work.join("a", recorder(), controller.signal, cancellable(events));
  await turn();
  controller.abort(new Error("gave up"));
  const second = work.join("a", recorder(), NEVER(), () => {
    events.push("anew");
    return Promise.resolve("made");
  });
  await assert.rejects(first, /gave up/);
  assert.equal(await second, "made");
  assert.deepEqual(events, ["start", "cleaned up", "anew"]);
});

Deno.test("SharedWork does not begin for a caller who gave up before", async () => {
  const work = new SharedWork<number>();
  await assert.rejects(
    work.join("a", recorder(), AbortSignal.abort(new Error("before")), () => assert.fail("it began")),
    /before/,
  );
});
