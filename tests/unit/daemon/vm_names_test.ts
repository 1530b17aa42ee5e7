import assert from "node:assert/strict";
import { BangerError } from "../../../lib/base/errors.ts";
import type { Host } from "../../../lib/base/host.ts";
import type { ImageId, ImageName, KernelName, VmId, VmName } from "../../../lib/base/names.ts";
import { serveNames } from "../../../lib/daemon/vm_names.ts";
import type { VmRecord } from "../../../lib/store/records.ts";
import { Store } from "../../../lib/store/store.ts";

const IMAGE = "aabbccddeeff" as ImageId;

function record(network: "user" | "bridge" | "none"): VmRecord {
  const sizes = { cpus: 1, memoryMib: 512, workDiskBytes: 1 };
  const spec = {
    ...{ imageName: "debian", kernelName: "debian" as KernelName, environment: {} },
    ...{ ...sizes, network, transport: "virtio-serial" as const },
  };
  return { createdAtMs: 1, spec };
}

async function names(store: Store): Promise<string[]> {
  const stop = AbortSignal.abort();
  const unused = () => Promise.reject(new Error("not part of this test"));
  const network = {
    connectTcp: unused,
    listenTcp: unused,
    bindUdp: unused,
    holdLink: unused,
    ownAddresses: () => [],
  };
  const clock = { now: () => 0, monotonicMs: () => 0, sleep: unused };
  const files = { readText: () => Promise.reject(new BangerError("not_found", "Cannot find it")) };
  const host = { network, clock, files, processes: {}, log: () => {} } as unknown as Host;
  const served = serveNames(host, store, { port: 53, uid: 1000, owner: "/x" }, stop);
  const { records } = await served.status();
  await served.running;
  return records.map(({ name, address }) => `${name} ${address}`).sort();
}

Deno.test("names follow the VMs' lives, and are there again with the next daemon", async () => {
  const directory = await Deno.makeTempDir({ prefix: "banger-names-" });
  try {
    {
      using store = Store.open(`${directory}/state.db`);
      store.images.insert({
        ...{ id: IMAGE, name: "debian" as ImageName, source: "recipe:test", digest: "sha256:00" },
        ...{ createdAtMs: 1, sizeBytes: 1, contentBytes: 1, init: "none", libc: "none", hasSshServer: false },
        agentBuild: "x",
        config: { user: "", environment: {}, workingDirectory: "", entrypoint: [], command: [] },
      });
      for (const [name, network] of [["web", "user"], ["db", "bridge"], ["alone", "none"]] as const) {
        store.vms.reserve(name as VmId, name as VmName, IMAGE, record(network));
        store.vms.transition("create", name as VmId, "stopped");
      }
      assert.deepEqual(await names(store), [], "nothing runs");
      for (const name of ["web", "db", "alone"]) {
        store.vms.transition("start", name as VmId, "starting");
        store.vms.transition("start", name as VmId, "running", { machine: { pid: 1 } });
      }
      assert.deepEqual(await names(store), ["db.vm 10.69.0.3", "web.vm 127.42.0.1"]);
    }
    using store = Store.open(`${directory}/state.db`);
    assert.deepEqual(await names(store), ["db.vm 10.69.0.3", "web.vm 127.42.0.1"]);
    store.vms.transition("stop", "web" as VmId, "stopping");
    store.vms.transition("stop", "web" as VmId, "stopped", { machine: undefined });
    assert.deepEqual(await names(store), ["db.vm 10.69.0.3"]);

    // The name is another's now: it means that one's address, and never two.
    store.vms.remove("web" as VmId);
    const other = store.vms.reserve("other" as VmId, "web" as VmName, IMAGE, record("bridge"));
    assert.throws(() => store.vms.reserve("third" as VmId, "web" as VmName, IMAGE, record("user")), /web/);
    store.vms.transition("create", other.id, "stopped");
    store.vms.transition("start", other.id, "starting");
    store.vms.transition("start", other.id, "running", { machine: { pid: 1 } });
    assert.deepEqual(await names(store), ["db.vm 10.69.0.3", "web.vm 10.69.0.2"]);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});
