import assert from "node:assert/strict";
import { BangerError } from "../../../lib/base/errors.ts";
import type { VmName } from "../../../lib/base/names.ts";
import { vmPaths } from "../../../lib/store/paths.ts";
import { readVmRecord } from "../../../lib/vm/record_file.ts";
import { VmService } from "../../../lib/vm/service.ts";
import { makeBench } from "./bench.ts";

const ID = "0123456789ab";
const OTHER_ID = "ba9876543210";

function work() {
  const notes: string[] = [];
  const progress = { stage() {}, update() {}, note: (text: string) => void notes.push(text) };
  return { notes, progress, signal: new AbortController().signal };
}

async function withKey(here: Awaited<ReturnType<typeof makeBench>>, id: string) {
  await Deno.writeTextFile(`${vmPaths(here.paths, id).hostKey}.pub`, "ssh-ed25519 AAAA root@web.vm\n");
}

function isCode(code: string, hint: RegExp = /./) {
  return (thrown: unknown) =>
    thrown instanceof BangerError && thrown.code === code && hint.test(thrown.hint ?? "");
}

Deno.test("a removed VM gives its name free, keeps its disks, and comes back with all it had", async () => {
  await using here = await makeBench();
  const service = new VmService(here.deps);
  await here.addVm(ID, "web");
  await withKey(here, ID);
  const { notes, ...rest } = work();
  await service.remove("web", { force: false }, rest);
  assert.match(notes.join(), /in the trash for 60 s; bring it back: banger vm restore web/);
  assert.equal(here.store.vms.isTaken("web" as VmName), false);
  assert.equal(await Deno.readTextFile(vmPaths(here.paths, ID).workDisk), "disk of web");
  assert.throws(() => here.store.vms.get("web"), isCode("not_found", /banger vm restore web/));
  const removed = here.store.vms.get(ID);
  assert.equal(removed.state, "removed");
  assert.equal(removed.removed?.name, "web");
  // Its record beside the disks says so, too: a lost database does not bring it back to life.
  const kept = await readVmRecord(here.deps.host.files, vmPaths(here.paths, ID).record, removed.id);
  assert.deepEqual([kept.state, kept.name], ["removed", removed.name]);

  const restored = await service.trash.restore("web");
  assert.deepEqual([restored.id, restored.name, restored.state, restored.removed], [
    ID,
    "web",
    "stopped",
    undefined,
  ]);
});

Deno.test("where its name is taken, a removed VM needs another one; the last removed comes first", async () => {
  await using here = await makeBench();
  const service = new VmService(here.deps);
  for (const id of [ID, OTHER_ID]) {
    await here.addVm(id, "web");
    await withKey(here, id);
    await service.remove("web", { force: false }, work());
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  const third = await here.addVm("aaaaaaaaaaaa", "web");
  await assert.rejects(service.trash.restore("web"), isCode("already_exists", /--name NAME ba9876543210/));
  await assert.rejects(service.trash.restore("web", "Not A Label"), isCode("invalid_argument"));
  assert.equal((await service.trash.restore("web", "old")).id, OTHER_ID);
  assert.match(
    await Deno.readTextFile(vmPaths(here.paths, OTHER_ID).knownHosts),
    /^old\.vm ssh-ed25519 AAAA/,
  );
  assert.equal((await service.trash.restore(ID, "older")).id, ID);
  await assert.rejects(service.trash.restore(third.id), isCode("not_found", /vm list --removed/));
});

Deno.test("what is in the trash can't be started, stopped, changed or killed, and rm of it is for good", async () => {
  await using here = await makeBench();
  const service = new VmService(here.deps);
  await here.addVm(ID, "web");
  await service.remove("web", { force: false }, work());
  for (
    const act of [
      () => service.start(ID, work()),
      () => service.stop(ID, { force: false }, work()),
      () => service.kill(ID, work()),
      () => service.set(ID, { cpus: 2 }, work()),
    ]
  ) await assert.rejects(act, isCode("wrong_state", /banger vm restore/));
  await service.remove(ID, { force: false }, work());
  assert.equal(here.store.vms.find(ID), undefined);
  assert.equal(await here.deps.host.files.stat(vmPaths(here.paths, ID).directory), undefined);
});

Deno.test("--purge, and a trash of no time, remove for good at once", async () => {
  await using here = await makeBench();
  await here.addVm(ID, "web");
  await new VmService(here.deps).remove("web", { force: false, purge: true }, work());
  assert.deepEqual(here.store.vms.list(), []);
  await here.addVm(OTHER_ID, "web");
  const deps = { ...here.deps, trashKeepMs: () => Promise.resolve(0) };
  await new VmService(deps).remove("web", { force: false }, work());
  assert.deepEqual(here.store.vms.list(), []);
});

Deno.test("prune takes what is named and old enough, and says what it would take", async () => {
  await using here = await makeBench();
  const service = new VmService(here.deps);
  await here.addVm(ID, "a");
  await here.addVm(OTHER_ID, "b");
  await here.addVm("cccccccccccc", "stays");
  await service.remove("a", { force: false }, work());
  await service.remove("b", { force: false }, work());
  const names = (pruned: readonly { name: string }[]) => pruned.map(({ name }) => name).sort();
  assert.deepEqual(names(await service.trash.prune({ dryRun: true })), ["a", "b"]);
  assert.deepEqual(names(await service.trash.prune({ olderThanMs: 60_000 })), []);
  await assert.rejects(service.trash.prune({ names: ["stays"] }), isCode("not_found"));
  const [pruned] = await service.trash.prune({ names: ["b"] });
  assert.ok(pruned && pruned.name === "b" && pruned.freedBytes > 0, JSON.stringify(pruned));
  assert.deepEqual(names(await service.trash.prune({})), ["a"]);
  assert.deepEqual(here.store.vms.list().map(({ name }) => name), ["stays"]);
});

Deno.test("the daemon empties the trash in time, and not before; a configuration in error keeps all", async () => {
  await using here = await makeBench();
  await here.addVm(ID, "web");
  const service = new VmService(here.deps);
  await service.remove("web", { force: false }, work());
  const swept = async (keepMs: () => Promise<number>, aheadMs: number) => {
    const ended = new AbortController();
    const clock = {
      ...here.deps.host.clock,
      now: () => Date.now() + aheadMs,
      sleep: () => Promise.resolve(ended.abort()),
    };
    const deps = { ...here.deps, host: { ...here.deps.host, clock }, trashKeepMs: keepMs };
    await new VmService(deps).trash.watch(ended.signal);
    return here.store.vms.find(ID) === undefined;
  };
  assert.equal(await swept(() => Promise.resolve(60_000), 59_000), false);
  assert.equal(await swept(() => Promise.resolve(60_000), -86_400_000), false, "a clock that went back");
  assert.equal(await swept(() => Promise.reject(new BangerError("invalid_argument", "bad")), 1e9), false);
  assert.match(here.logged.join(), /cannot empty the trash/);
  assert.equal(await swept(() => Promise.resolve(60_000), 61_000), true);
});
