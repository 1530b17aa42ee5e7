import assert from "node:assert/strict";
import { BangerError } from "../../../lib/base/errors.ts";
import { GIB, MIB } from "../../../lib/base/units.ts";
import { vmPaths } from "../../../lib/store/paths.ts";
import type { Vm } from "../../../lib/store/records.ts";
import {
  changeSettings,
  ensureWorkDiskSize,
  planChange,
  type SettingsChange,
} from "../../../lib/vm/settings.ts";
import { idleMachine, MACHINE_STATE, makeBench, RECORD } from "./bench.ts";

const ID = "0123456789ab";

function vm(state: Vm["state"]): Vm {
  const spec = { ...RECORD.spec, workDiskBytes: 8 * GIB, environment: { A: "1" } };
  return { ...RECORD, spec, name: "web", state } as unknown as Vm;
}

for (
  const [state, change, plan] of [
    ["stopped", { cpus: 4 }, ["cpus: 1 to 4 now"]],
    ["running", { cpus: 4 }, ["cpus: 1 to 4 next start"]],
    ["running", { cpus: 1 }, []],
    ["running", { memoryMib: 1024 }, ["memory: 512 MiB to 1 GiB next start"]],
    ["running", { workDiskBytes: 16 * GIB }, ["disk: 8 GiB to 16 GiB now"]],
    ["stopped", { workDiskBytes: 8 * GIB + 1 }, ["disk: 8 GiB to 8589934593 B now"]],
    ["running", { environment: { A: "2", B: "x" } }, [
      'environment A: "1" to "2" next start',
      'environment B: not set to "x" next start',
    ]],
    ["stopped", { environment: { A: null, C: null } }, ['environment A: "1" to not set now']],
    ["running", { environment: { A: "1" } }, []],
    ["stopped", { kernel: "other" }, ["kernel: debian to other now"]],
    ["running", { kernel: "other" }, ["kernel: debian to other next start"]],
    ["running", { kernel: "debian" }, []],
  ] as const satisfies [Vm["state"], SettingsChange, string[]][]
) {
  Deno.test(`a ${state} VM's change to ${JSON.stringify(change)} comes to ${plan.length} changes`, () => {
    const told = planChange(vm(state), change).plan.map((one) =>
      `${one.setting}: ${one.from} to ${one.to} ${one.takesEffect}`
    );
    assert.deepEqual(told, plan);
  });
}

Deno.test("a disk never shrinks", () => {
  assert.throws(
    () => planChange(vm("stopped"), { workDiskBytes: 4 * GIB }),
    (thrown) =>
      thrown instanceof BangerError && thrown.code === "invalid_argument" &&
      /disks only grow/.test(thrown.message),
  );
});

function silent() {
  const notes: string[] = [];
  return { notes, stage() {}, update() {}, note: (text: string) => void notes.push(text) };
}

Deno.test("a stopped VM's disk file grows, and what was in it stays", async () => {
  await using here = await makeBench();
  const { id } = await here.addVm(ID, "web");
  await changeSettings(here.deps, id, undefined, { workDiskBytes: 64 * MIB, cpus: 3 }, silent());
  const { workDisk } = vmPaths(here.paths, ID);
  assert.equal((await Deno.stat(workDisk)).size, 64 * MIB);
  assert.match((await Deno.readTextFile(workDisk)).slice(0, 20), /^disk of web\0/);
  const { spec } = here.store.vms.get(ID);
  assert.deepEqual([spec.cpus, spec.workDiskBytes], [3, 64 * MIB]);
});

Deno.test("a running VM's disk grows through its machine and its agent, an old agent is told of", async () => {
  await using here = await makeBench();
  const { id } = await here.addVm(ID, "web");
  const grown: unknown[] = [];
  const machine = {
    ...idleMachine(),
    growDrive: (drive: { id: string }, bytes: number) => Promise.resolve(void grown.push([drive.id, bytes])),
  };
  const guest = {
    ...here.deps.guest,
    growWorkDisk: () => Promise.reject(new BangerError("not_found", "no such request")),
  };
  const progress = silent();
  await changeSettings(
    { ...here.deps, guest },
    id,
    { machine, state: MACHINE_STATE },
    { workDiskBytes: 64 * MIB },
    progress,
  );
  assert.deepEqual(grown, [["work", 64 * MIB]]);
  assert.match(progress.notes.join(), /resize2fs \/dev\/vdb/);
});

Deno.test("a growth that fails leaves the record as it was; one that was killed is finished at the next start", async () => {
  await using here = await makeBench();
  const { id } = await here.addVm(ID, "web");
  const machine = {
    ...idleMachine(),
    growDrive: () => Promise.reject(new BangerError("guest_failed", "no")),
  };
  const change = { workDiskBytes: 64 * MIB, cpus: 2 };
  await assert.rejects(changeSettings(here.deps, id, { machine, state: MACHINE_STATE }, change, silent()));
  assert.equal(here.store.vms.get(ID).spec.workDiskBytes, RECORD.spec.workDiskBytes);

  const spec = { ...RECORD.spec, workDiskBytes: 64 * MIB };
  const killed = here.store.vms.update(id, { record: { spec } });
  await ensureWorkDiskSize(here.deps, killed);
  assert.equal((await Deno.stat(vmPaths(here.paths, ID).workDisk)).size, 64 * MIB);
  await ensureWorkDiskSize(here.deps, { ...killed, spec: { ...spec, workDiskBytes: 1 } });
  assert.equal((await Deno.stat(vmPaths(here.paths, ID).workDisk)).size, 64 * MIB, "it never shrinks");
});
