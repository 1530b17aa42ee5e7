/** Rows of "Daemon": what a failure to read or write must never lead to. */
import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { BangerError } from "../../../lib/base/errors.ts";
import type { ImageId, ImageName, VmId } from "../../../lib/base/names.ts";
import { vmPaths } from "../../../lib/store/paths.ts";
import { realHost } from "../../../lib/sys/host.ts";
import { reconcile } from "../../../lib/vm/reconcile.ts";
import { VmService } from "../../../lib/vm/service.ts";
import { type Bench, idleMachine, IMAGE, IMAGE_ID, MACHINE_STATE, makeBench } from "./bench.ts";

const A = "aaaaaaaaaaaa" as VmId;
const B = "bbbbbbbbbbbb" as VmId;

function runs(bench: Bench, id: VmId): void {
  bench.store.vms.transition("start", id, "starting");
  bench.store.vms.transition("start", id, "running", { machine: MACHINE_STATE });
}

Deno.test("state that cannot be written at a start ends no machine", async () => {
  const full = () => Promise.reject(new BangerError("no_space", "Cannot write: no space left on the disk"));
  const { files } = realHost();
  await using bench = await makeBench({ files: { ...files, writeAtomic: full } });
  await bench.addVm(A, "web");
  runs(bench, A);
  let killed = 0;
  const kill = () => Promise.resolve(void killed++);
  bench.machines.set("x", { ...idleMachine(), kill });
  const service = new VmService(bench.deps);
  await reconcile(bench.deps, service);
  assert.equal(bench.store.vms.get(A).state, "running");
  assert.ok(service.running.get(A));
  assert.equal(killed, 0);
});

Deno.test("a VM whose state cannot be read at a start is broken, with all of its files", async () => {
  const { files } = realHost();
  const stat = (path: string) =>
    path.includes(A) && path.endsWith("work.raw")
      ? Promise.reject(new BangerError("state_broken", `Cannot look at ${path}: the disk reports an error`))
      : files.stat(path);
  await using bench = await makeBench({ files: { ...files, stat } });
  await bench.addVm(A, "web");
  await bench.addVm(B, "other");
  await reconcile(bench.deps, new VmService(bench.deps));
  const vm = bench.store.vms.get(A);
  assert.deepEqual([vm.state, /the disk reports an error/.test(vm.brokenReason!)], ["broken", true]);
  assert.equal(bench.store.vms.get(B).state, "stopped");
  assert.equal(await Deno.readTextFile(vmPaths(bench.paths, A).workDisk), "disk of web");
});

Deno.test("a database of an earlier time loses no VM that was made since", async () => {
  const files = (database: string) => ["", "-wal"].map((suffix) => `${database}${suffix}`);
  const copyAll = async (from: string, to: string) => {
    for (const path of files(to)) await Deno.remove(path).catch(() => {}); // a log may be there, or not
    for (const [at, path] of files(from).entries()) await Deno.copyFile(path, files(to)[at]!).catch(() => {});
  };
  await using first = await makeBench();
  await first.addVm(A, "old");
  await reconcile(first.deps, new VmService(first.deps));
  const earlier = `${first.directory}/earlier.db`;
  await using second = await first.restarted(({ database }) => copyAll(database, earlier));
  await second.addVm(B, "new");
  const service = new VmService(second.deps);
  await service.queues.run(B, () => Promise.resolve());
  await using bench = await second.restarted(({ database }) => copyAll(earlier, database));
  assert.equal(bench.store.vms.find("new"), undefined);
  assert.equal(await reconcile(bench.deps, new VmService(bench.deps)), 1);
  assert.deepEqual(bench.store.vms.list().map(({ name, state, number }) => [name, state, number]), [
    ["new", "stopped", 2],
    ["old", "stopped", 1],
  ]);
  assert.equal(await Deno.readTextFile(vmPaths(bench.paths, B).workDisk), "disk of new");
});

Deno.test("two VMs of one name, one of them from another time, are both there", async () => {
  await using first = await makeBench();
  await first.addVm(A, "web");
  await reconcile(first.deps, new VmService(first.deps));
  await using bench = await first.restarted(({ database }) => Deno.remove(database));
  await bench.addVm(B, "web");
  await reconcile(bench.deps, new VmService(bench.deps));
  assert.deepEqual(bench.store.vms.list().map(({ id, name }) => [id, name]), [[A, `recovered-${A}`], [
    B,
    "web",
  ]]);
});

Deno.test("a row of an image that cannot be read hides no other, and says what to do", async () => {
  await using bench = await makeBench();
  const { store } = bench;
  store.images.insert({ ...IMAGE, id: "0123456789ab" as ImageId, name: "other" as ImageName });
  const opened = new DatabaseSync(bench.paths.database);
  opened.exec(`UPDATE images SET record = '{' WHERE id = '${IMAGE_ID}'`);
  opened.close();
  assert.deepEqual(store.images.list().map(({ name }) => name), ["other"]);
  assert.deepEqual(store.images.unreadable(), [{ id: IMAGE_ID, name: "debian" }]);
  assert.throws(
    () => store.images.find("debian"),
    (thrown) =>
      thrown instanceof BangerError && thrown.code === "state_broken" && /daemon logs/.test(thrown.hint!),
  );
});

Deno.test("a removal that failed half-way is finished by the watch", async () => {
  let fails = true;
  const { files } = realHost();
  const remove = (path: string) =>
    fails && path.endsWith(A)
      ? Promise.reject(new BangerError("state_broken", "Cannot remove it: the disk reports an error"))
      : files.remove(path);
  await using bench = await makeBench({
    files: { ...files, remove },
    // The watch looks every half second, and tries again every tenth time.
    clock: { ...realHost().clock, sleep: (ms, signal) => realHost().clock.sleep(ms / 100, signal) },
  });
  await bench.addVm(A, "web");
  const service = new VmService(bench.deps);
  const work = { progress: { stage() {}, update() {}, note() {} }, signal: new AbortController().signal };
  await assert.rejects(service.remove("web", { force: false, purge: true }, work), /disk reports an error/);
  assert.equal(bench.store.vms.get(A).state, "removing");
  fails = false;
  const stop = new AbortController();
  const watching = service.running.watch(stop.signal);
  for (let patience = 500; bench.store.vms.find(A) && patience > 0; patience--) {
    await realHost().clock.sleep(10);
  }
  stop.abort();
  await watching;
  assert.equal(bench.store.vms.find(A), undefined);
  await assert.rejects(Deno.stat(vmPaths(bench.paths, A).directory), Deno.errors.NotFound);
});
