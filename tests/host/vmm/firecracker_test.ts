import assert from "node:assert/strict";
import type { Acceleration, Machine, MachineSpec } from "../../../lib/vmm/driver.ts";
import { FirecrackerClient } from "../../../lib/vmm/firecracker/client.ts";
import { firecrackerDriver, type FirecrackerDriverOptions } from "../../../lib/vmm/firecracker/driver.ts";
import { FirecrackerMachine } from "../../../lib/vmm/firecracker/machine.ts";
import { withFakeFirecracker } from "./fake_host.ts";
import { Bench, host as realOne, isError, reaped } from "./tiny_guest.ts";

const KVM: Acceleration = { kind: "kvm", why: "the test says so" };

const host = withFakeFirecracker(realOne);

function driver(options: Partial<FirecrackerDriverOptions> = {}) {
  return firecrackerDriver(host, { acceleration: KVM, ...options });
}

async function specOf(bench: Bench, parts: Partial<MachineSpec> = {}): Promise<MachineSpec> {
  const kernel = {
    vmlinuxPath: await bench.disk("vmlinux", 1),
    initramfsPath: await bench.disk("initramfs", 1),
  };
  const drives = [
    { id: "root", path: await bench.disk("root.raw", 512), format: "raw", readOnly: false },
    { id: "config", path: await bench.disk("config.tar", 512), format: "raw", readOnly: true },
  ] as const;
  const network = { mode: "tap", mac: "06:00:00:00:00:01", tapName: "banger0" } as const;
  const transport = { kind: "firecracker-vsock", cid: 7 } as const;
  return { ...bench.spec(kernel, "nothing"), drives, network, transport, ...parts };
}

interface Asked {
  readonly operation: string;
  readonly body?: Record<string, unknown>;
  readonly problems: readonly string[];
}

async function askedOf(bench: Bench): Promise<Asked[]> {
  const text = await Deno.readTextFile(`${bench.directory}/api.sock.requests`);
  return text.trim().split("\n").map((line) => JSON.parse(line));
}

async function play(bench: Bench, script: object): Promise<void> {
  await Deno.writeTextFile(`${bench.directory}/api.sock.play`, JSON.stringify(script));
}

async function withMachine(machine: Machine, body: () => Promise<void>): Promise<void> {
  try {
    await body();
  } finally {
    await machine.kill();
    await reaped(machine.record.process);
  }
}

async function assertNothingLeft(bench: Bench): Promise<void> {
  const { stdout } = await realOne.processes.run({ program: "ps", args: ["-eo", "args"] });
  assert.ok(!stdout.includes(bench.directory), stdout);
  const names = await realOne.files.list(bench.directory);
  assert.ok(!names.includes("api.sock") && !names.includes("agent.sock"), names.join(" "));
  await realOne.clock.sleep(50); // for Deno to notice that its child has ended
}

Deno.test("every request of a launch is one that Firecracker's description allows, in its order", async () => {
  await using bench = await Bench.open();
  const spec = await specOf(bench, { cpus: 4, memoryMib: 1024 });
  const metricsPath = () => `${bench.directory}/metrics.json`;
  const machine = await driver({ metricsPath }).launch(spec);
  await withMachine(machine, async () => {
    const asked = await askedOf(bench);
    for (const { operation, problems } of asked) assert.deepEqual(problems, [], operation);
    const operations = asked.map(({ operation }) => operation);
    assert.deepEqual(operations.slice(operations.indexOf("GET /version")), [
      "GET /version",
      "PUT /logger",
      "PUT /metrics",
      "PUT /serial",
      "PUT /machine-config",
      "PUT /boot-source",
      "PUT /drives/root",
      "PUT /drives/config",
      "PUT /network-interfaces/eth0",
      "PUT /vsock",
      "PUT /entropy",
      "PUT /balloon",
      "PUT /actions",
    ]);
    const drives = asked.filter(({ operation }) => operation.startsWith("PUT /drives"));
    for (const { body } of drives) assert.equal(body?.cache_type, "Writeback");
    assert.deepEqual(machine.endpoint, { kind: "hybrid", path: `${bench.directory}/agent.sock` });
    assert.equal(machine.record.acceleration.kind, "kvm");
  });
  await assertNothingLeft(bench);
});

Deno.test("a Firecracker machine is paused, adopted, resumed, asked for memory, and killed", async () => {
  await using bench = await Bench.open();
  const machine = await driver().launch(await specOf(bench));
  await withMachine(machine, async () => {
    assert.equal(await machine.status(), "running");
    await machine.pause();
    const adopted = await driver().adopt(machine.record);
    assert.ok(adopted instanceof FirecrackerMachine);
    assert.equal(await adopted.status(), "paused");
    await adopted.resume();
    assert.equal(await machine.status(), "running");
    await adopted.powerButton();
    await adopted.reclaimMemory(64);
    assert.deepEqual(await adopted.memoryStatistics(), { targetMib: 1, actualMib: 0, freeMemoryBytes: 4096 });
    for (const { operation, problems } of await askedOf(bench)) assert.deepEqual(problems, [], operation);
    await adopted.kill();
    assert.equal(await machine.status(), "ended");
    await assert.rejects(machine.pause(), isError("wrong_state", /it has ended/));
    assert.equal(await driver().adopt(machine.record), undefined);
  });
});

Deno.test("what is refused after the start reaches the caller in Firecracker's words", async () => {
  await using bench = await Bench.open();
  const machine = await driver().launch(await specOf(bench));
  await withMachine(machine, async () => {
    const client = new FirecrackerClient(host, machine.record.controlSocket);
    for (
      const refused of [
        () => client.act("InstanceStart"),
        () => client.putEntropy(),
        () => client.putMachineConfiguration({ vcpu_count: 1, mem_size_mib: 128 }),
        () => client.putVsock({ guest_cid: 3, uds_path: "/x" }),
      ]
    ) await assert.rejects(refused, /not supported after starting the microVM/);
    await assert.rejects(
      () => client.putMachineConfiguration({ vcpu_count: 33, mem_size_mib: 128 }),
      /vcpu_count is above 32/,
    );
  });
});

Deno.test("launch() reports any step that Firecracker refuses, and leaves nothing", async () => {
  const steps = [
    "PUT /logger",
    "PUT /serial",
    "PUT /machine-config",
    "PUT /boot-source",
    "PUT /drives/root",
    "PUT /drives/config",
    "PUT /network-interfaces/eth0",
    "PUT /vsock",
    "PUT /entropy",
    "PUT /balloon",
    "PUT /actions",
  ];
  for (const step of steps) {
    await using bench = await Bench.open();
    await play(bench, { faults: { [step]: "Device or resource busy (os error 16)\u001b[31m" } });
    await assert.rejects(driver().launch(await specOf(bench)), (thrown) => {
      assert.ok(!(thrown as Error).message.includes("\u001b"), "an escape sequence came through");
      return isError("boot_failed", new RegExp(`refuses ${step}: "Device or resource busy`))(thrown);
    });
    await assertNothingLeft(bench);
  }
});

const REFUSED: readonly [string, Partial<MachineSpec>, string, RegExp][] = [
  ["33 processors", { cpus: 33 }, "invalid_argument", /at most 32/],
  ["an id with a slash", { id: "../x" }, "invalid_argument", /id/],
];

for (const [what, parts, code, text] of REFUSED) {
  Deno.test(`launch() refuses ${what} before a guest runs`, async () => {
    await using bench = await Bench.open();
    await assert.rejects(driver().launch(await specOf(bench, parts)), isError(code, text));
    await assertNothingLeft(bench);
  });
}

Deno.test("launch() refuses a Firecracker with known holes", async () => {
  await using bench = await Bench.open();
  await play(bench, { version: "1.14.3" });
  await assert.rejects(
    driver().launch(await specOf(bench)),
    isError("host_unsupported", /known security holes/),
  );
  await assertNothingLeft(bench);
});

Deno.test("a Firecracker before 1.16 is not asked to limit the console, which it could not", async () => {
  await using bench = await Bench.open();
  await play(bench, { version: "1.15.1" });
  const machine = await driver().launch(await specOf(bench));
  await withMachine(machine, async () => {
    const serial = (await askedOf(bench)).find(({ operation }) => operation === "PUT /serial");
    assert.deepEqual(serial?.body, { serial_out_path: `${bench.directory}/console.out` });
  });
});

Deno.test("launch() needs KVM, and Firecracker", async () => {
  await using bench = await Bench.open();
  const acceleration: Acceleration = { kind: "tcg", why: "no vmx" };
  const spec = await specOf(bench);
  await assert.rejects(
    driver({ acceleration }).launch(spec),
    isError("host_unsupported", /needs KVM, and no vmx/),
  );
  await assert.rejects(
    driver({ program: "absent-firecracker" }).launch(spec),
    isError("missing_tool", /not installed/),
  );
});

Deno.test("launch() that is cancelled while Firecracker is silent leaves nothing", async () => {
  await using bench = await Bench.open();
  await play(bench, { silent: ["PUT /vsock"] });
  const cancel = new AbortController();
  const launching = driver().launch(await specOf(bench), cancel.signal);
  const reason = new Error("cancelled by the test");
  const timer = setTimeout(() => cancel.abort(reason), 1000);
  await assert.rejects(launching, reason);
  clearTimeout(timer);
  await assertNothingLeft(bench);
});
