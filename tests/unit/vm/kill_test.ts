import assert from "node:assert/strict";
import { BangerError } from "../../../lib/base/errors.ts";
import { VmService } from "../../../lib/vm/service.ts";
import { idleMachine, MACHINE_STATE, makeBench } from "./bench.ts";

const ID = "0123456789ab";

function work() {
  const notes: string[] = [];
  const progress = { stage() {}, update() {}, note: (text: string) => void notes.push(text) };
  return { notes, progress, signal: new AbortController().signal };
}

/** A VM that runs on a machine whose guest never shuts down by itself. */
async function running() {
  const here = await makeBench();
  const deps = { ...here.deps, guest: { ...here.deps.guest, powerOff: () => Promise.resolve() } };
  const service = new VmService(deps);
  const { id } = await here.addVm(ID, "web");
  here.store.vms.transition("start", id, "starting");
  here.store.vms.transition("start", id, "running", { machine: MACHINE_STATE });
  const ended = Promise.withResolvers<void>();
  const seen = { kills: 0 };
  const machine = {
    ...idleMachine(),
    waitForExit: () => ended.promise.then(() => true),
    kill: () => Promise.resolve(void (seen.kills++, ended.resolve())),
  };
  service.running.add(id, { machine, state: MACHINE_STATE });
  return { here, service, seen };
}

Deno.test("kill ends a shutdown that waits, and the stop says what became of it", async () => {
  const { here, service, seen } = await running();
  await using _here = here;
  const stop = work();
  const stopping = service.stop("web", { force: false }, stop);
  while (here.store.vms.get(ID).state !== "stopping") await new Promise((resolve) => setTimeout(resolve, 1));
  await service.kill("web", work());
  await stopping;
  assert.match(stop.notes.join(), /VM web: power cut on request; what was not yet synced may be lost/);
  const { state, lastExit } = here.store.vms.get(ID);
  assert.deepEqual([state, lastExit], ["stopped", "power cut on request"]);
  assert.ok(seen.kills >= 1);
});

Deno.test("kill cuts a running VM's power without asking its guest; a stopped one is refused", async () => {
  const { here, service } = await running();
  await using _here = here;
  await service.kill("web", work());
  assert.equal(here.store.vms.get(ID).state, "stopped");
  await assert.rejects(
    service.kill("web", work()),
    (thrown) => thrown instanceof BangerError && thrown.code === "wrong_state",
  );
  await assert.rejects(
    service.kill("nobody", work()),
    (thrown) => thrown instanceof BangerError && thrown.code === "not_found",
  );
});

Deno.test("kill makes a broken VM a stopped one; removing a running one needs force", async () => {
  const { here, service } = await running();
  await using _here = here;
  await assert.rejects(
    service.remove("web", { force: false }, work()),
    (thrown) => thrown instanceof BangerError && /vm rm --force web/.test(thrown.hint!),
  );
  here.store.vms.transition("reconcile", here.store.vms.get(ID).id, "broken", { brokenReason: "a test" });
  await service.kill("web", work());
  const { state, brokenReason } = here.store.vms.get(ID);
  assert.deepEqual([state, brokenReason], ["stopped", undefined]);
});

for (
  const [why, powerOff, said] of [
    ["does not shut down in time", () => Promise.resolve(), /power cut: it did not shut down in time/],
    [
      "has an agent that does not answer",
      () => Promise.reject(new BangerError("guest_unreachable", "no answer")),
      /power cut: its agent does not answer/,
    ],
  ] as const
) {
  Deno.test(`stop of a VM that ${why} cuts its power and says so`, async () => {
    await using here = await makeBench();
    const service = new VmService({ ...here.deps, guest: { ...here.deps.guest, powerOff } });
    const { id } = await here.addVm(ID, "web");
    here.store.vms.transition("start", id, "starting");
    here.store.vms.transition("start", id, "running", { machine: MACHINE_STATE });
    service.running.add(id, { machine: idleMachine(), state: MACHINE_STATE });
    const stop = work();
    await service.stop("web", { force: false }, stop);
    assert.match(stop.notes.join(), said);
    assert.match(stop.notes.join(), /what was not yet synced may be lost/);
    assert.match(here.store.vms.get(ID).lastExit ?? "", said);
  });
}
