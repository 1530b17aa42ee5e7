import assert from "node:assert/strict";
import { BangerError } from "../../../lib/base/errors.ts";
import type { ImageId, ImageName } from "../../../lib/base/names.ts";
import { imagePaths, vmPaths } from "../../../lib/store/paths.ts";
import type { ImageRecord, Vm } from "../../../lib/store/records.ts";
import { discardUnfinishedRoot, ImageChanges } from "../../../lib/vm/image_change.ts";
import { VmQueues } from "../../../lib/vm/queue.ts";
import { rootDiskPath } from "../../../lib/vm/root_disk.ts";
import { type Bench, makeBench } from "./bench.ts";

const WORK = {
  progress: { stage() {}, update() {}, note() {} },
  signal: new AbortController().signal,
};

/** A bench with a second image, and a VM of the first. */
async function prepare(bench: Bench): Promise<{ changes: ImageChanges; vm: Vm; alpine: ImageRecord }> {
  const vm = await bench.addVm("0123456789ab", "web");
  const first = bench.store.images.list()[0]!;
  const alpine = {
    ...first,
    id: "a".repeat(12) as ImageId,
    name: "alpine" as ImageName,
    kernel: "other",
    sizeBytes: 1024 * 1024,
  };
  bench.store.images.insert(alpine);
  const { directory, rootfs } = imagePaths(bench.paths, alpine.id);
  await Deno.mkdir(directory, { recursive: true });
  await Deno.writeTextFile(rootfs, "alpine");
  await Deno.truncate(rootfs, alpine.sizeBytes);
  const deps = {
    ...bench.deps,
    ensureImage: (name: string) => Promise.resolve(bench.store.images.find(name)!),
    ensureKernel: (name: string) =>
      Promise.resolve({ name, architecture: bench.deps.host.processes.architecture } as never),
    drivers: {
      ...bench.deps.drivers,
      choose: () => Promise.resolve({ driver: bench.deps.drivers.named("qemu"), why: "a test" } as never),
    },
  };
  return { changes: new ImageChanges(deps, new VmQueues()), vm, alpine };
}

function namesOf(bench: Bench, vm: Vm): string[] {
  const names = [...Deno.readDirSync(vmPaths(bench.paths, vm.id).directory)].map(({ name }) => name);
  return names.filter((name) => name.startsWith("root")).sort();
}

Deno.test("a VM gets another image below its work disk, goes back, and forth again", async () => {
  await using bench = await makeBench();
  const { changes, vm, alpine } = await prepare(bench);
  const before = { image: vm.imageId, path: rootDiskPath(bench.paths, vm) };
  const { workDisk } = vmPaths(bench.paths, vm.id);
  await changes.change("web", { image: "alpine" }, WORK);
  const changed = bench.store.vms.get("web");
  assert.equal(changed.imageId, alpine.id);
  assert.deepEqual([changed.spec.imageName, changed.spec.kernelName], ["alpine", "other"]);
  assert.equal(namesOf(bench, vm).length, 2);
  assert.equal(await Deno.readTextFile(workDisk), "disk of web");
  assert.deepEqual(bench.store.images.users(before.image), ["web"], "the old image is still needed");

  await changes.undo("web", WORK);
  const back = bench.store.vms.get("web");
  assert.deepEqual([back.imageId, rootDiskPath(bench.paths, back)], [before.image, before.path]);
  assert.equal(await Deno.readTextFile(before.path), "disk of web");
  await changes.undo("web", WORK);
  assert.equal(rootDiskPath(bench.paths, bench.store.vms.get("web")), rootDiskPath(bench.paths, changed));

  // Of the disks before only the last is kept.
  await changes.change("web", { image: "alpine" }, WORK);
  assert.equal(namesOf(bench, vm).length, 2);
  assert.ok(!namesOf(bench, vm).includes("root.qcow2"));
  assert.equal(bench.store.vms.get("web").spec.kernelName, "other");

  // A kernel that is asked for counts more than the image's own.
  await changes.change("web", { image: "alpine", kernel: "third" }, WORK);
  assert.equal(bench.store.vms.get("web").spec.kernelName, "third");
  assert.deepEqual(bench.store.images.users(before.image), []);
});

Deno.test("a change of image that fails leaves the VM as it was, and nothing beside it", async () => {
  await using bench = await makeBench();
  const { changes, vm, alpine } = await prepare(bench);
  await Deno.remove(imagePaths(bench.paths, alpine.id).rootfs);
  await assert.rejects(changes.change("web", { image: "alpine" }, WORK));
  assert.deepEqual(bench.store.vms.get("web"), vm);
  assert.deepEqual(namesOf(bench, vm), ["root.qcow2"]);
  await assert.rejects(
    changes.undo("web", WORK),
    (thrown) => thrown instanceof BangerError && thrown.code === "wrong_state",
  );
});

Deno.test("a change of image that is cancelled leaves nothing", async () => {
  await using bench = await makeBench();
  const { changes, vm } = await prepare(bench);
  const signal = AbortSignal.abort(new BangerError("cancelled", "no more"));
  await assert.rejects(changes.change("web", { image: "alpine" }, { ...WORK, signal }), /no more/);
  assert.deepEqual(bench.store.vms.get("web"), vm);
  assert.deepEqual(namesOf(bench, vm), ["root.qcow2"]);
});

Deno.test("what a killed daemon began of a change of image is removed, and nothing else", async () => {
  await using bench = await makeBench();
  const { vm } = await prepare(bench);
  bench.store.vms.update(vm.id, { record: { unfinishedRoot: "root-0badcafe" } });
  const { directory } = vmPaths(bench.paths, vm.id);
  await Deno.writeTextFile(`${directory}/root-0badcafe.qcow2`, "half");
  await Deno.writeTextFile(`${directory}/root-0badcaff.qcow2`, "another's");
  await discardUnfinishedRoot(bench.deps, bench.store.vms.get(vm.id));
  assert.deepEqual(namesOf(bench, vm), ["root-0badcaff.qcow2", "root.qcow2"]);
  assert.deepEqual(bench.store.vms.get("web"), vm);
});

Deno.test("a VM that runs keeps its image", async () => {
  await using bench = await makeBench();
  const { changes, vm } = await prepare(bench);
  bench.store.vms.transition("start", vm.id, "starting");
  for (
    const act of [() => changes.change("web", { image: "alpine" }, WORK), () => changes.undo("web", WORK)]
  ) {
    await assert.rejects(act, (thrown) => thrown instanceof BangerError && thrown.code === "wrong_state");
  }
});
