import assert from "node:assert/strict";
import type { Kernel } from "../../../lib/kernel/manifest.ts";
import { vmPaths } from "../../../lib/store/paths.ts";
import { beginLaunch, type BegunLaunch, bootMachine } from "../../../lib/vm/boot.ts";
import { makeHostKey } from "../../../lib/vm/config_disk.ts";
import type { VmDeps } from "../../../lib/vm/deps.ts";
import { stopProcess } from "../../../lib/vm/processes.ts";
import type { ChosenDriver } from "../../../lib/vmm/drivers.ts";
import { type Bench, idleMachine, IMAGE, makeBench, RELAY_SCRIPT } from "./bench.ts";

const ID = "0123456789ab";
const KERNEL = {
  vmlinuxPath: "/nowhere/vmlinux",
  initramfsPath: "/nowhere/initramfs",
  modulesDiskPath: "/nowhere/modules",
} as Kernel;

/** A VM whose launch was begun, and what becomes of the rest of it. */
async function begin(bench: Bench, launch = () => Promise.resolve(idleMachine())) {
  const deps: VmDeps = {
    ...bench.deps,
    relayCommand: ({ runtimeDirectory }) => ({
      program: "sh",
      args: ["-c", RELAY_SCRIPT, "sh", runtimeDirectory],
    }),
  };
  const vm = await bench.addVm(ID, "web");
  await makeHostKey(deps.host.files, deps.paths, vm);
  const driver = { name: "qemu", launch, adopt: () => Promise.resolve(undefined) } as const;
  const vmm: ChosenDriver = { driver, acceleration: { kind: "tcg", why: "a test" }, why: "a test" };
  const begun = await beginLaunch(deps, vm, vmm);
  const work = { progress: { stage() {}, update() {}, note() {} }, signal: new AbortController().signal };
  const boot = (begun: BegunLaunch) =>
    bootMachine(deps, vm, { image: IMAGE, kernel: KERNEL, vmm, begun }, () => {}, work);
  return { deps, begun, boot, runtime: vmPaths(deps.paths, vm.id).runtime, processes: deps.host.processes };
}

Deno.test("a launch goes on with the relay that was begun", async () => {
  await using bench = await makeBench();
  const { begun, boot, processes } = await begin(bench);
  const { state } = await boot(begun);
  assert.deepEqual(state.relay, begun.relay?.process);
  await stopProcess(processes, state.relay);
});

Deno.test("a relay that gave up while the disks were made is started again", async () => {
  await using bench = await makeBench();
  const { begun, boot, processes } = await begin(bench);
  await stopProcess(processes, begun.relay?.process);
  const { state } = await boot(begun);
  assert.notEqual(state.relay?.pid, begun.relay?.process.pid);
  assert.ok(await processes.isAlive(state.relay!));
  await stopProcess(processes, state.relay);
});

Deno.test("a launch that fails ends the relay that was begun, and removes its directory", async () => {
  await using bench = await makeBench();
  const refused = new Error("no machine");
  const { deps, begun, boot, runtime, processes } = await begin(bench, () => Promise.reject(refused));
  await assert.rejects(boot(begun), (thrown) => thrown === refused);
  assert.equal(await processes.isAlive(begun.relay!.process), false);
  assert.equal(await deps.host.files.stat(runtime), undefined);
});
