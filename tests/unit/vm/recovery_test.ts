import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { BangerError } from "../../../lib/base/errors.ts";
import type { VmId } from "../../../lib/base/names.ts";
import { vmPaths } from "../../../lib/store/paths.ts";
import type { Vm } from "../../../lib/store/records.ts";
import { realHost } from "../../../lib/sys/host.ts";
import { readVmRecord } from "../../../lib/vm/record_file.ts";
import { reconcile } from "../../../lib/vm/reconcile.ts";
import { VmService } from "../../../lib/vm/service.ts";
import { removeTemporaryFiles } from "../../../lib/vm/temporary_files.ts";
import { type Bench, idleMachine, MACHINE_STATE, makeBench } from "./bench.ts";

const A = "aaaaaaaaaaaa" as VmId;
const B = "bbbbbbbbbbbb" as VmId;

async function reconciled(bench: Bench): Promise<VmService> {
  const service = new VmService(bench.deps);
  await reconcile(bench.deps, service);
  return service;
}

async function eventsOf({ deps, paths }: Bench, id: VmId): Promise<string[]> {
  return (await deps.events.list(vmPaths(paths, id).events)).map(({ event }) => event);
}

const withoutUndefined = (vm: Vm) => JSON.parse(JSON.stringify(vm)) as Vm;

Deno.test("each change of a VM reaches the record beside its disks before its caller goes on", async () => {
  await using bench = await makeBench();
  await bench.addVm(A, "web");
  const service = await reconciled(bench);
  const { record } = vmPaths(bench.paths, A);
  assert.deepEqual(
    await readVmRecord(bench.deps.host.files, record, A),
    withoutUndefined(bench.store.vms.get(A)),
  );
  await service.queues.run(A, () => {
    bench.store.vms.update(A, { record: { spec: { ...bench.store.vms.get(A).spec, cpus: 7 } } });
    return Promise.resolve();
  });
  assert.equal((await readVmRecord(bench.deps.host.files, record, A)).spec.cpus, 7);
  assert.equal((await Deno.stat(record)).mode! & 0o777, 0o600);
});

Deno.test("a record that cannot be written fails nothing, is told, and is written later", async () => {
  await using bench = await makeBench();
  await bench.addVm(A, "web");
  const { record } = vmPaths(bench.paths, A);
  await Deno.mkdir(record); // writing to it fails
  const service = await reconciled(bench);
  assert.equal(bench.store.vms.get(A).state, "stopped");
  assert.ok(bench.logged.includes("error: cannot write a VM's record beside its disks"));
  assert.deepEqual(bench.deps.records.pending, [A]);
  await Deno.remove(record);
  await service.queues.run(A, () => Promise.resolve());
  assert.deepEqual(bench.deps.records.pending, []);
  assert.equal((await readVmRecord(bench.deps.host.files, record, A)).name, "web");
});

Deno.test("a lost database is made again from the records beside the disks", async () => {
  await using first = await makeBench();
  await first.addVm(A, "web");
  await first.addVm(B, "running");
  await reconciled(first);
  first.store.vms.transition("start", B, "starting");
  first.store.vms.transition("start", B, "running", { machine: MACHINE_STATE });
  await first.deps.records.flush(B);
  const before = [first.store.vms.get(A), first.store.vms.get(B)].map(withoutUndefined);
  await using bench = await first.restarted(({ database }) => Deno.remove(database));
  bench.machines.set("x", idleMachine());
  const service = await reconciled(bench);
  assert.deepEqual([bench.store.vms.get(A), bench.store.vms.get(B)].map(withoutUndefined), before);
  assert.ok(service.running.get(B), "a machine that still runs is adopted");
  assert.deepEqual(await eventsOf(bench, A), ["recovered"]);
  assert.equal(await Deno.readTextFile(vmPaths(bench.paths, A).workDisk), "disk of web");
});

Deno.test("a VM whose record is lost as well is broken, not absent, and keeps its disks", async () => {
  for (const damage of ["missing", "cut off", "another VM's"] as const) {
    await using first = await makeBench();
    await first.addVm(A, "web");
    await first.addVm(B, "other");
    await reconciled(first);
    await using bench = await first.restarted(async (paths) => {
      await Deno.remove(paths.database);
      const [own, other] = [vmPaths(paths, A), vmPaths(paths, B)];
      if (damage === "missing") await Deno.remove(own.record);
      else if (damage === "cut off") await Deno.truncate(own.record, 40);
      else await Deno.copyFile(other.record, own.record);
    });
    await reconciled(bench);
    const vm = bench.store.vms.get(A);
    assert.deepEqual([vm.state, vm.name], ["broken", `recovered-${A}`], damage);
    assert.match(vm.brokenReason!, /Cannot read .*vm\.json/);
    assert.equal(await Deno.readTextFile(vmPaths(bench.paths, A).workDisk), "disk of web");
    assert.equal(bench.store.vms.get("other").state, "stopped");
    // It stays so: nothing becomes what merely stands in for it.
    await using again = await bench.restarted();
    await reconciled(again);
    assert.equal(again.store.vms.get(A).state, "broken");
  }
});

Deno.test("a row that cannot be read does not hide the others, and is mended from its record", async () => {
  await using first = await makeBench();
  await first.addVm(A, "web");
  await first.addVm(B, "other");
  await reconciled(first);
  await using bench = await first.restarted(({ database }) => {
    const opened = new DatabaseSync(database);
    opened.exec(`UPDATE vms SET record = '{"cut off' WHERE id = '${A}'`);
    opened.close();
  });
  assert.deepEqual(bench.store.vms.list().map(({ name, state }) => `${name} ${state}`), [
    "other stopped",
    "web broken",
  ]);
  await reconciled(bench);
  const vm = bench.store.vms.get("web");
  assert.deepEqual([vm.state, vm.spec.memoryMib, vm.isUnreadable], ["stopped", 512, undefined]);
  assert.deepEqual(await eventsOf(bench, A), ["recovered"]);
});

Deno.test("a VM whose disk is missing is broken until it is there again", async () => {
  await using bench = await makeBench();
  await bench.addVm(A, "web");
  const { workDisk } = vmPaths(bench.paths, A);
  await Deno.rename(workDisk, `${workDisk}.away`);
  await reconciled(bench);
  const broken = bench.store.vms.get(A);
  assert.equal(broken.state, "broken");
  assert.match(broken.brokenReason!, /work\.raw is missing/);
  await Deno.rename(`${workDisk}.away`, workDisk);
  await reconciled(bench);
  assert.equal(bench.store.vms.get(A).state, "stopped");
});

Deno.test("a machine that does not answer keeps neither the others nor the daemon waiting", async () => {
  await using bench = await makeBench();
  await bench.addVm(A, "stuck");
  await bench.addVm(B, "fine");
  bench.store.vms.transition("start", A, "starting");
  bench.store.vms.transition("start", A, "running", { machine: MACHINE_STATE });
  const answer = Promise.withResolvers<never>();
  const { drivers } = bench.deps;
  const stuck = { ...drivers.named("qemu"), adopt: () => answer.promise };
  const deps = { ...bench.deps, drivers: { ...drivers, named: () => stuck } };
  const service = new VmService(deps);
  const startedAtMs = performance.now();
  await reconcile(deps, service);
  assert.ok(performance.now() - startedAtMs < 5000);
  assert.equal(bench.store.vms.get("fine").state, "stopped");
  assert.ok(service.queues.isBusy(A), "commands for it wait");
  answer.reject(new Error("it never did"));
  await service.queues.run(A, () => Promise.resolve());
  assert.equal(bench.store.vms.get(A).state, "broken");
});

Deno.test("what cut-off writes left is removed, and nothing else", async () => {
  await using bench = await makeBench();
  await bench.addVm(A, "web");
  const { directory } = vmPaths(bench.paths, A);
  const left = [`${bench.paths.stateDirectory}/x.0123abcd.tmp`, `${directory}/events.jsonl.89abcdef.tmp`];
  const kept = [`${directory}/mine.tmp`, `${bench.paths.binDirectory}/build/banger.0123abcd.tmp`];
  await Deno.mkdir(`${bench.paths.binDirectory}/build`, { recursive: true });
  for (const path of [...left, ...kept]) await Deno.writeTextFile(path, "");
  await removeTemporaryFiles(bench.deps.host, bench.paths);
  for (const path of left) await assert.rejects(Deno.stat(path), Deno.errors.NotFound);
  for (const path of kept) await Deno.stat(path);
});

Deno.test("damaged lines among a VM's events are left out, and the next event is added", async () => {
  await using bench = await makeBench();
  await bench.addVm(A, "web");
  const { events } = vmPaths(bench.paths, A);
  await Deno.writeTextFile(events, '{"time":"t","event":"created"}\n{"time":"t","ev\n\u0000\n7\nnull\n');
  await bench.deps.events.add(events, "started");
  assert.deepEqual(await eventsOf(bench, A), ["created", "started"]);
});

Deno.test("a start that could not be undone at one start of the daemon is undone at the next", async () => {
  let fails = true;
  const { processes } = realHost();
  const findByCommandLine = (fragment: string) =>
    fails
      ? Promise.reject(new BangerError("permission_denied", "Cannot look at processes: permission denied"))
      : processes.findByCommandLine(fragment);
  await using bench = await makeBench({ processes: { ...processes, findByCommandLine } });
  await bench.addVm(A, "web");
  bench.store.vms.transition("start", A, "starting");
  await reconciled(bench);
  assert.equal(bench.store.vms.get(A).state, "broken");
  fails = false;
  await reconciled(bench);
  assert.equal(bench.store.vms.get(A).state, "stopped");
});
