import assert from "node:assert/strict";
import { emptyDirectory, EPOCH } from "../../../lib/base/tree.ts";
import { uuidFromSeed } from "../../../lib/base/uuid.ts";
import { FilesystemWriter } from "../../../lib/ext4/mod.ts";
import type { Kernel } from "../../../lib/kernel/manifest.ts";
import { imageRootfs } from "../../../lib/store/paths.ts";
import { realHost } from "../../../lib/sys/host.ts";
import { VmService } from "../../../lib/vm/service.ts";
import { type Bench, idleMachine, IMAGE, makeBench, RELAY_SCRIPT } from "./bench.ts";

const LARGER_IMAGE = { ...IMAGE, sizeBytes: 8 * 2 ** 20 };
const work = { progress: { stage() {}, update() {}, note() {} }, signal: new AbortController().signal };
const { files } = realHost();
const later = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** A bench whose syncs of files are `sync`, with an image and with a driver whose machines are up at once. */
async function makeCreateBench(
  sync: (path: string) => Promise<void>,
): Promise<Bench & { service: VmService }> {
  const bench = await makeBench({ files: { ...files, sync } });
  bench.store.images.update(LARGER_IMAGE);
  const rootfs = imageRootfs(bench.paths, LARGER_IMAGE);
  await Deno.mkdir(rootfs.slice(0, rootfs.lastIndexOf("/")), { recursive: true });
  await using disk = await files.open(rootfs, { read: true, write: true, createNew: true });
  const uuid = uuidFromSeed("an image");
  await using writer = await FilesystemWriter.create(disk, {
    uuid,
    label: "root",
    timestamp: EPOCH,
    sizeBytes: LARGER_IMAGE.sizeBytes,
  });
  await writer.finish(emptyDirectory(0o755, EPOCH));
  const driver = {
    name: "qemu",
    launch: () => Promise.resolve(idleMachine()),
    adopt: () => Promise.resolve(undefined),
  } as const;
  const vmm = { driver, acceleration: { kind: "tcg", why: "a test" }, why: "a test" } as const;
  const service = new VmService({
    ...bench.deps,
    drivers: { ...bench.deps.drivers, choose: () => Promise.resolve(vmm) },
    ensureImage: () => Promise.resolve(LARGER_IMAGE),
    ensureKernel: () => Promise.resolve({ name: "debian" } as Kernel),
    relayCommand: ({ runtimeDirectory }) => ({
      program: "sh",
      args: ["-c", RELAY_SCRIPT, "sh", runtimeDirectory],
    }),
  });
  return { ...bench, service };
}

Deno.test("a new VM runs for others once its files are on the disk, and boots meanwhile", async () => {
  const onDisk = Promise.withResolvers<void>();
  const happened: string[] = [];
  await using bench = await makeCreateBench(async (path) => {
    await onDisk.promise;
    happened.push(path.slice(path.lastIndexOf("/") + 1));
  });
  const { service, store } = bench;
  store.vms.onChange((id) => {
    const vm = store.vms.find(id);
    if (vm?.machine) happened.push(`${vm.state}${vm.isUnannounced ? ", unannounced" : ""}`);
  });
  const creating = service.create({ name: "web" }, work);
  while (happened.length === 0) await Promise.race([creating, later(5)]);
  await later(50); // for a boot that does not wait
  onDisk.resolve();
  await creating;
  const files = ["root.qcow2", "work.raw", "ssh_host_ed25519_key", "ssh_host_ed25519_key.pub"];
  const { id } = store.vms.get("web");
  assert.deepEqual(happened, ["starting, unannounced", ...files, id, "vms", "running"]);
  await service.remove("web", { force: true, purge: true }, work);
});

Deno.test("a new VM whose files cannot be put on the disk is not there", async () => {
  await using bench = await makeCreateBench(() => Promise.reject(new Error("input/output error")));
  await assert.rejects(bench.service.create({ name: "web" }, work), /input\/output error/);
  await assert.rejects(bench.service.create({ name: "web", start: false }, work), /input\/output error/);
  assert.deepEqual(bench.store.vms.list(), []);
  assert.deepEqual(await files.list(bench.paths.vmsDirectory), []);
});
