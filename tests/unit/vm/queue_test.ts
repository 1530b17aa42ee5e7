import assert from "node:assert/strict";
import type { VmId } from "../../../lib/base/names.ts";
import { VmQueues } from "../../../lib/vm/queue.ts";

Deno.test("changes of one VM run one after the other, those of others beside them", async () => {
  const queues = new VmQueues();
  const log: string[] = [];
  const first = Promise.withResolvers<void>();
  const a = "a" as VmId;
  const slow = queues.run(a, async () => {
    await first.promise;
    log.push("a1");
  });
  const next = queues.run(a, () => Promise.resolve(log.push("a2")));
  await queues.run("b" as VmId, () => Promise.resolve(log.push("b")));
  assert.ok(queues.isBusy(a));
  first.resolve();
  await Promise.all([slow, next]);
  assert.deepEqual(log, ["b", "a1", "a2"]);
  assert.ok(!queues.isBusy(a), "nothing is kept of a VM that rests");
});

Deno.test("a change that fails does not hold up the next", async () => {
  const queues = new VmQueues();
  const a = "a" as VmId;
  await assert.rejects(queues.run(a, () => Promise.reject(new Error("no"))), /no/);
  assert.equal(await queues.run(a, () => Promise.resolve(7)), 7);
});
