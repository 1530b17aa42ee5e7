/**
 * A VM's whole life under Firecracker, through the same lifecycle that the daemon has: chosen because the host has
 * KVM, started, found again by the next daemon, stopped. Firecracker is played (fake_firecracker.ts); no guest runs.
 */
import assert from "node:assert/strict";
import type { FoundProcess, ProcessIdentity } from "../../../lib/base/host.ts";
import { byteStringOfText, emptyDirectory, EPOCH } from "../../../lib/base/tree.ts";
import { uuidFromSeed } from "../../../lib/base/uuid.ts";
import { FilesystemWriter } from "../../../lib/ext4/mod.ts";
import { relayArguments } from "../../../lib/daemon/relay_main.ts";
import type { Kernel } from "../../../lib/kernel/manifest.ts";
import { askControl } from "../../../lib/net/control.ts";
import { imagePaths, networkFiles, vmPaths } from "../../../lib/store/paths.ts";
import type { VmDeps } from "../../../lib/vm/deps.ts";
import { boundVmmFiles, MAX_VMM_FILE_BYTES } from "../../../lib/vm/log_bounds.ts";
import { changeNetwork } from "../../../lib/vm/network.ts";
import { reconcile } from "../../../lib/vm/reconcile.ts";
import { VmService } from "../../../lib/vm/service.ts";
import { FirecrackerMachine } from "../../../lib/vmm/firecracker/machine.ts";
import { obstacleToNamespace } from "../../../lib/vmm/firecracker/namespace.ts";
import { hostDrivers, type VmmSettings } from "../../../lib/vmm/drivers.ts";
import { type Bench, IMAGE, makeBench } from "../../unit/vm/bench.ts";
import { whyNoNamespaces } from "../net/tap_guest.ts";
import { withFakeFirecracker, withKvm } from "../vmm/fake_host.ts";
import { host as realOne, reaped } from "../vmm/tiny_guest.ts";

const WORK = { progress: { stage() {}, update() {}, note() {} }, signal: new AbortController().signal };
const host = withKvm(withFakeFirecracker(realOne));
const IMAGE_BYTES = 16 * 1024 * 1024;

/** The bench's lifecycle with this file's VMMs, an image and a kernel. */
async function depsOf(bench: Bench, settings: VmmSettings = {}): Promise<VmDeps> {
  const { directory, rootfs } = imagePaths(bench.paths, IMAGE.id);
  if (!(await host.files.stat(rootfs))) {
    await Deno.mkdir(directory, { recursive: true });
    await using file = await host.files.open(rootfs, { read: true, write: true, createNew: true });
    await using writer = await FilesystemWriter.create(file, {
      uuid: uuidFromSeed("firecracker"),
      timestamp: EPOCH,
      sizeBytes: IMAGE_BYTES,
    });
    const root = emptyDirectory();
    root.entries.set(byteStringOfText("root"), emptyDirectory());
    await writer.finish(root);
  }
  const image = { ...IMAGE, sizeBytes: IMAGE_BYTES };
  bench.store.images.update(image);
  const kernel = { name: "debian" } as Record<string, string>;
  for (const part of ["vmlinuxPath", "initramfsPath", "modulesDiskPath"]) {
    kernel[part] = `${bench.directory}/${part}`;
    await Deno.writeTextFile(kernel[part], part);
  }
  return {
    ...bench.deps,
    host,
    drivers: hostDrivers(
      host,
      () => Promise.resolve(settings),
      {
        metrics: ({ id }) => vmPaths(bench.paths, id).metrics,
        jail: ({ id }) => vmPaths(bench.paths, id).jail,
      },
    ),
    guest: {
      ...bench.deps.guest,
      async powerOff() {
        // As the guest's own end does: Firecracker ends with it. Its relay may have the lower number.
        const found = await firecrackers(bench);
        const process = found.find(({ commandLine }) => !commandLine.includes(RELAY));
        await host.processes.signal(process!, "SIGKILL");
      },
    },
    ensureImage: () => Promise.resolve(image),
    ensureKernel: () => Promise.resolve(kernel as unknown as Kernel),
    relayCommand: (options) => ({
      program: Deno.execPath(),
      args: [
        "run",
        "-A",
        "--no-check",
        "--unstable-net",
        "--unstable-vsock",
        RELAY,
        ...relayArguments(options),
      ],
    }),
  };
}

async function firecrackers(bench: Bench): Promise<FoundProcess[]> {
  return await host.processes.findByCommandLine(`${bench.paths.runtimeDirectory}/vms/`);
}

/** The relay is the real one, from its source. */
const RELAY = new URL("relay.ts", import.meta.url).pathname;
const why = await whyNoNamespaces() ?? (await obstacleToNamespace(realOne, false))?.why;
if (why) console.log(`skipped: a VM's life under Firecracker with a network: ${why}`);
const OPTIONS = { name: "fc", network: "user", workDiskBytes: 64 * 1024 * 1024 } as const;

/** What the machine's own namespace has for cards. */
async function cardsOf({ pid }: ProcessIdentity): Promise<string> {
  const inside = [
    "--target",
    `${pid}`,
    "--user",
    "--net",
    "--preserve-credentials",
    "ip",
    "-o",
    "-br",
    "link",
  ];
  return (await host.processes.run({ program: "nsenter", args: inside })).stdout;
}

async function until(isSo: () => Promise<boolean> | boolean): Promise<void> {
  while (!(await isSo())) await host.clock.sleep(10);
}

async function wholeLife(): Promise<void> {
  await using bench = await makeBench(host);
  const deps = await depsOf(bench);
  const service = new VmService(deps);
  await service.create(OPTIONS, WORK);
  const vm = bench.store.vms.get("fc");
  const machine = service.running.get(vm.id)!;
  assert.equal(vm.state, "running");
  assert.equal(machine.machine.record.driver, "firecracker");
  assert.equal(machine.state.why, "KVM works and Firecracker is installed");
  const { process, namespace } = machine.machine.record;
  assert.deepEqual(namespace, { card: "relay0", hasUserNamespace: true });
  assert.equal(process.executable, await Deno.realPath(Deno.execPath()), "not what made its namespace");
  assert.match(await cardsOf(process), /^vm0.*^relay0|^relay0.*^vm0/ms);
  assert.match(
    await Deno.readTextFile(`/proc/${process.pid}/status`),
    /^CapEff:\t0+$/m,
    "it has no capability",
  );
  assert.match(`${vm.rootDisk}`, /^(reflink|copy|dm-snapshot)$/, "Firecracker has no overlays");

  const { directory, runtime, metrics, consoleLog, machineLog } = vmPaths(bench.paths, vm.id);
  const asked = (await Deno.readTextFile(`${runtime}/api.sock.requests`)).trim().split("\n").map((line) =>
    JSON.parse(line) as { operation: string; body?: Record<string, unknown>; problems: string[] }
  );
  for (const { operation, problems } of asked) assert.deepEqual(problems, [], operation);
  const bodies = new Map(asked.map(({ operation, body }) => [operation, body]));
  assert.equal(bodies.get("PUT /metrics")?.metrics_path, metrics);
  assert.equal(bodies.get("PUT /serial")?.serial_out_path, consoleLog);
  assert.equal(bodies.get("PUT /logger")?.log_path, machineLog);
  assert.equal(bodies.get("PUT /vsock")?.uds_path, `${runtime}/agent.sock`);
  const { host_dev_name, mtu } = bodies.get("PUT /network-interfaces/eth0")!;
  assert.deepEqual({ host_dev_name, mtu }, { host_dev_name: "vm0", mtu: 65_520 });
  const drives = asked.filter(({ operation }) => operation.startsWith("PUT /drives")).map(({ body }) =>
    body!
  );
  assert.deepEqual(drives.map(({ drive_id }) => drive_id), ["root", "work", "config", "modules"]);
  assert.deepEqual(drives.map(({ is_read_only }) => is_read_only), [false, false, true, true]);

  // The daemon is killed; the next one knows which driver to ask.
  const next = new VmService(deps);
  await reconcile(deps, next);
  const adopted = next.running.get(vm.id);
  assert.ok(adopted?.machine instanceof FirecrackerMachine);
  assert.equal(adopted.machine.record.process.pid, machine.machine.record.process.pid);
  assert.equal(adopted.state.why, machine.state.why);

  // Its network's relay ends; the daemon starts another, which carries what the VM's rules say by then.
  const stop = new AbortController();
  const watching = next.running.watch(stop.signal);
  await host.processes.signal(adopted.state.relay!, "SIGKILL");
  await until(() => next.running.get(vm.id)?.state.relay?.pid !== adopted.state.relay!.pid);
  stop.abort();
  await watching;
  await changeNetwork(deps, next.queues, "fc", { allowNet: [] });
  const settings = JSON.parse(await Deno.readTextFile(networkFiles(runtime).settings));
  assert.deepEqual([settings.allow, settings.vmm.pid, settings.namespace], [[], process.pid, namespace]);
  assert.deepEqual((await askControl(host, networkFiles(runtime).control, "status")).refusals, []);

  // What Firecracker writes by itself does not grow for ever.
  await Deno.writeFile(metrics, new Uint8Array(MAX_VMM_FILE_BYTES + 4096).fill(1));
  await boundVmmFiles(host.files, vmPaths(bench.paths, vm.id), "firecracker");
  assert.equal((await Deno.stat(metrics)).size, 0);
  assert.ok((await Deno.stat(consoleLog)).size > 0);

  await next.stop("fc", { force: false }, WORK);
  assert.equal(bench.store.vms.get("fc").lastExit, "shut down");
  await reaped(machine.machine.record.process);
  assert.deepEqual(await firecrackers(bench), [], "no Firecracker, no relay");
  assert.equal(await host.files.stat(runtime), undefined);
  assert.ok(await host.files.stat(directory));
}

Deno.test({
  name: "a VM runs under Firecracker with a network, is found again by the next daemon, and stops",
  ignore: why !== undefined,
  fn: wholeLife,
});

Deno.test("a VM that needs or asks for QEMU gets QEMU though Firecracker is there", async () => {
  await using bench = await makeBench(host);
  const deps = await depsOf(bench);
  const raw = { rootFormat: "raw" } as const;
  const choices = [
    [{ rootFormat: "qcow2", network: "none" }, /root disk is an overlay/],
    [{ ...raw, network: "none", requested: "qemu" }, /asked for/],
  ] as const;
  for (const [wishes, why] of choices) {
    const chosen = await deps.drivers.choose(wishes);
    assert.equal(chosen.driver.name, "qemu");
    assert.equal(chosen.acceleration.kind, "kvm");
    assert.match(chosen.why, why);
  }
  const configured = await depsOf(bench, { driver: "qemu" });
  assert.equal((await configured.drivers.choose({ ...raw, network: "none" })).driver.name, "qemu");
});

Deno.test("a Firecracker with known holes is not chosen, and not used where it is asked for", async () => {
  const old = withKvm(withFakeFirecracker(realOne, "v1.14.3"));
  const drivers = hostDrivers(old, () => Promise.resolve({}), {
    metrics: () => "/nowhere",
    jail: () => "/nowhere",
  });
  const wishes = { network: "none", rootFormat: "raw" } as const;
  const chosen = await drivers.choose(wishes);
  assert.equal(chosen.driver.name, "qemu");
  assert.match(chosen.why, /1\.14\.3 has known security holes/);
  await assert.rejects(drivers.choose({ ...wishes, requested: "firecracker" }), /known security holes/);
});
