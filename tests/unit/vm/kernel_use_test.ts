import assert from "node:assert/strict";
import { BangerError } from "../../../lib/base/errors.ts";
import type { KernelName } from "../../../lib/base/names.ts";
import type { Vm } from "../../../lib/store/records.ts";
import { kernelUse, requireKernel } from "../../../lib/vm/kernel_use.ts";
import { VmService } from "../../../lib/vm/service.ts";
import type { VmDeps } from "../../../lib/vm/deps.ts";
import { type Bench, makeBench, RECORD } from "./bench.ts";

const WORK = {
  progress: { stage() {}, update() {}, note() {} },
  signal: new AbortController().signal,
};

/** @param here architectures of the kernels that are here, by name */
function depsOf(bench: Bench, here: Readonly<Record<string, string>>): VmDeps {
  const ensureKernel = (name: string) =>
    here[name]
      ? Promise.resolve({ name, architecture: here[name] } as never)
      : Promise.reject(new BangerError("not_found", `Cannot pull kernel ${name}`));
  return { ...bench.deps, ensureKernel };
}

Deno.test("a VM is given a kernel that is here, for its processor, and no other", async () => {
  await using bench = await makeBench();
  const vm = await bench.addVm("0123456789ab", "web");
  const own = bench.deps.host.processes.architecture;
  const service = new VmService(depsOf(bench, { other: own, foreign: "vax" }));
  const kernelName = () => bench.store.vms.get(vm.id).spec.kernelName;

  await assert.rejects(service.set("web", { kernel: "none" }, WORK), { code: "not_found" });
  await assert.rejects(service.set("web", { kernel: "foreign", cpus: 4 }, WORK), {
    code: "host_unsupported",
    message: new RegExp(`it is for vax, and the VM for ${own}`),
  });
  const { spec } = bench.store.vms.get(vm.id);
  assert.deepEqual([spec.kernelName, spec.cpus], ["debian", 1], "what was refused has changed nothing");

  await service.set("web", { kernel: "other" }, WORK);
  assert.equal(kernelName(), "other");
  assert.deepEqual(await service.set("web", { kernel: "other" }, WORK), []);
  await service.set("web", { cpus: 2 }, WORK);
  assert.equal(kernelName(), "other", "it stays when other things are set");
});

Deno.test("where no kernel is asked for, none is looked for", async () => {
  await using bench = await makeBench();
  await requireKernel(bench.deps, "web", undefined, WORK); // the bench's own refuses
});

const ROOT = {
  imageId: "x",
  imageName: "x",
  kernelName: "before",
  rootDisk: "copy",
  rootDiskReason: "",
  rootDiskFile: "x",
};

for (
  const [why, vm, used] of [
    ["boots with it", { state: "stopped", spec: { ...RECORD.spec, kernelName: "it" } }, "web"],
    [
      "is in the trash with it",
      {
        name: "web~1",
        removed: { name: "web" },
        state: "removed",
        spec: { ...RECORD.spec, kernelName: "it" },
      },
      "web (in the trash)",
    ],
    [
      "can go back to it",
      { state: "stopped", previousRoot: { ...ROOT, kernelName: "it" } },
      "web (with --undo-image)",
    ],
    ["can go back to another", { state: "stopped", previousRoot: ROOT }, undefined],
    ["still runs with it", {
      state: "running",
      startedWith: { cpus: 1, memoryMib: 1, kernelName: "it" },
    }, "web (until its next start)"],
    [
      "ran with it",
      { state: "stopped", startedWith: { cpus: 1, memoryMib: 1, kernelName: "it" } },
      undefined,
    ],
    ["runs, and an earlier version started it", {
      state: "running",
      startedWith: { cpus: 1, memoryMib: 1 },
    }, undefined],
  ] as const
) {
  Deno.test(`a VM that ${why} ${used === undefined ? "does not need" : "needs"} a kernel`, () => {
    assert.equal(kernelUse({ ...RECORD, name: "web", ...vm } as unknown as Vm, "it" as KernelName), used);
  });
}

Deno.test("a VM whose kernel is gone says so when it is started, and what to do", async () => {
  await using bench = await makeBench();
  await bench.addVm("0123456789ab", "web");
  const choose = () => Promise.reject(new Error("it came too far"));
  const deps = { ...depsOf(bench, {}), drivers: { ...bench.deps.drivers, choose } };
  await assert.rejects(new VmService(deps).start("web", WORK), {
    code: "not_found",
    message: "Cannot start VM web: its kernel debian is gone",
    hint: /banger vm set web --kernel NAME/,
  });
});
