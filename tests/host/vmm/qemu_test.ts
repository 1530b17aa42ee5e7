import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { type Machine, type MachineSpec, runtimeSockets } from "../../../lib/vmm/driver.ts";
import { qemuDriver } from "../../../lib/vmm/qemu/driver.ts";
import { parseMachineRecord } from "../../../lib/vmm/record.ts";
import { writeOverlay } from "../../../lib/vmm/qcow2.ts";
import { watchBoot } from "../../../lib/vmm/watchdog.ts";
import { smallDisk } from "./small_disk.ts";
import { Bench, host, isError, reaped, tinyKernel } from "./tiny_guest.ts";

const driver = qemuDriver(host);
const kernel = await tinyKernel();
const MIB = 1024 * 1024;

/** A skipped test says why. */
function isNot(what: string, isSo: boolean): boolean {
  if (!isSo) console.log(`skipped below: this is not run as ${what}`);
  return !isSo;
}

/** Runs a machine for one test and makes sure that nothing of it is left. */
async function withMachine(spec: MachineSpec, body: (machine: Machine) => Promise<void>): Promise<void> {
  const machine = await driver.launch(spec);
  try {
    await body(machine);
  } finally {
    await machine.kill();
    await reaped(machine.record.process, ...machine.record.helpers);
  }
  assert.equal(await machine.isAlive(), false);
  assert.equal(await host.files.stat(machine.record.controlSocket), undefined);
}

Deno.test("QEMU gives the guest its disks in order, its port and its address", async () => {
  await using bench = await Bench.open();
  const drives = [
    { id: "root", path: await bench.disk("root", 8 * MIB), format: "raw", readOnly: false },
    { id: "work", path: await bench.disk("wo,rk", 4 * MIB), format: "raw", readOnly: false },
    { id: "config", path: await bench.disk("config", 1 * MIB), format: "raw", readOnly: true },
    { id: "modules", path: await bench.disk("modules", 2 * MIB), format: "raw", readOnly: true },
  ] as const;
  const network = { mode: "user", mac: "52:54:00:12:34:56" } as const;
  await withMachine(bench.spec(kernel, "disks", { drives, network, cpus: 2 }), async (machine) => {
    await bench.waitForConsole("banger-init: idle");
    assert.deepEqual(bench.consoleText.match(/^(disk|port|mac): .*$/gm)?.map((line) => line.trim()), [
      "disk: vda root 16384 ro=0",
      "disk: vdb work 8192 ro=0",
      "disk: vdc config 2048 ro=1",
      "disk: vdd modules 4096 ro=1",
      "port: banger.agent",
      "mac: 52:54:00:12:34:56",
    ]);
    assert.equal(await machine.status(), "running");
    assert.ok((await machine.cpuTimeMs())! > 0);
  });
});

Deno.test("a QEMU machine is paused, found again after a restart, resumed, and killed", async () => {
  await using bench = await Bench.open();
  await withMachine(bench.spec(kernel, "nothing"), async (machine) => {
    const outcome = await watchBoot(host, {
      machine,
      readConsole: () => Promise.resolve(bench.consoleText),
      isAgentUp: () => Promise.resolve(bench.consoleText.includes("banger-init: idle")),
    });
    assert.equal(outcome.kind, "up", JSON.stringify(outcome));
    await machine.pause();
    assert.equal(await machine.status(), "paused");
    const record = parseMachineRecord(JSON.parse(JSON.stringify(machine.record)));
    const adopted = await qemuDriver(host).adopt(record);
    assert.equal(await adopted?.status(), "paused");
    await host.clock.sleep(300);
    const frozen = bench.consoleText;
    await host.clock.sleep(600);
    assert.equal(bench.consoleText, frozen, "a paused guest printed something");
    await adopted!.resume();
    await bench.waitForConsole(new RegExp(`^.{${frozen.length}}.`, "s"));
    await Promise.all([machine.status(), machine.status(), adopted!.status(), machine.status()]);
    await adopted!.kill();
    assert.equal(await machine.status(), "ended");
    await assert.rejects(machine.pause(), isError("wrong_state", /it has ended/));
    assert.equal(await driver.adopt(record), undefined);
  });
});

for (const [how, script] of [["powers off", "poweroff"], ["panics", "panic"]] as const) {
  Deno.test(`QEMU ends when the guest ${how}, and leaves nothing`, async () => {
    await using bench = await Bench.open();
    const machine = await driver.launch(bench.spec(kernel, script));
    try {
      assert.equal(await machine.waitForExit(60_000), true, bench.consoleText);
    } finally {
      await machine.kill();
      await reaped(machine.record.process);
    }
    assert.equal(await host.files.stat(machine.record.controlSocket), undefined);
  });
}

Deno.test("the guest's port carries bytes both ways", async () => {
  await using bench = await Bench.open();
  await withMachine(bench.spec(kernel, "ports"), async () => {
    await bench.waitForConsole("banger-init: port");
    const sent = new TextEncoder().encode("ping");
    const buffer = new Uint8Array(16);
    assert.ok(bench.serial, "QEMU's port connects before the guest runs");
    await bench.serial.write(sent);
    assert.equal(new TextDecoder().decode(buffer.subarray(0, (await bench.serial.read(buffer))!)), "ping");
  });
});

Deno.test("the guest's frames come out of QEMU's sandbox, each behind its length", async () => {
  await using bench = await Bench.open();
  const mac = "52:54:00:12:34:56";
  await withMachine(bench.spec(kernel, "network", { network: { mode: "user", mac } }), async () => {
    using connection = await Deno.connect({
      transport: "unix",
      path: runtimeSockets(bench.directory).frames,
    });
    const question = await readFrame(connection, (frame) => frame[12] === 8 && frame[13] === 6);
    assert.deepEqual([...question.subarray(6, 12)], mac.split(":").map((octet) => parseInt(octet, 16)));
    // RFC 826: the protocol address that is asked for stands at 24 of the packet.
    assert.deepEqual([...question.subarray(14 + 24, 14 + 28)], [10, 0, 2, 2]);
  });
});

/** Reads to the first frame that is wanted. Source: QEMU, net/stream.c: a length of four bytes, big-endian */
async function readFrame(
  connection: Deno.Conn,
  isWanted: (frame: Uint8Array) => boolean,
): Promise<Uint8Array> {
  const readExactly = async (sizeBytes: number) => {
    const bytes = new Uint8Array(sizeBytes);
    for (let at = 0; at < sizeBytes;) {
      const count = await connection.read(bytes.subarray(at));
      assert.ok(count, "QEMU sends frames for as long as the guest does");
      at += count;
    }
    return bytes;
  };
  for (;;) {
    const frame = await readExactly(new DataView((await readExactly(4)).buffer).getUint32(0));
    if (isWanted(frame)) return frame;
  }
}

Deno.test("what a guest writes goes to the overlay, and the image below stays as it is", async () => {
  await using bench = await Bench.open();
  const image = await bench.disk("image", 16 * MIB);
  const content = new Uint8Array(16 * MIB);
  content.set(new TextEncoder().encode("from-image!!"));
  await Deno.writeFile(image, content);
  const overlay = `${bench.directory}/root.qcow2`;
  await writeOverlay(host, overlay, { backingPath: image, virtualSizeBytes: 32 * MIB });
  const drives = [{
    id: "root",
    path: overlay,
    format: "qcow2",
    backingPath: image,
    readOnly: false,
  }] as const;
  await withMachine(bench.spec(kernel, "overlay", { drives }), async () => {
    await bench.waitForConsole("banger-init: idle");
    assert.match(bench.consoleText, /^read: from-image!!\r$/m);
    assert.match(bench.consoleText, /^written\r$/m);
  });
  assert.equal(Buffer.compare(await Deno.readFile(image), content), 0, "the image was written to");
});

Deno.test({
  name: "a host disk that is full stops a machine that writes, and none of its bytes is lost",
  ignore: isNot("root, who alone may mount a small disk", Deno.uid() === 0),
  fn: async () => {
    await using bench = await Bench.open();
    await using disk = await smallDisk(`${bench.directory}/small`, 16);
    const path = `${disk.path}/root.raw`;
    await Deno.writeFile(path, new Uint8Array());
    await Deno.truncate(path, 24 * MIB);
    const drives = [{ id: "root", path, format: "raw", readOnly: false }] as const;
    await withMachine(bench.spec(kernel, "fill", { drives }), async (machine) => {
      const stopped = async () => await machine.status() === "out-of-space";
      while (!(await stopped())) await host.clock.sleep(50);
      await machine.resume(); // there is no room yet
      while (!(await stopped())) await host.clock.sleep(50);
      const adopted = await driver.adopt(machine.record);
      assert.equal(await adopted?.status(), "out-of-space");
      await disk.resize(64);
      await adopted!.resume();
      await bench.waitForConsole("filled: 24");
      assert.equal(await machine.status(), "running");
    });
    const written = await Deno.readFile(path);
    for (let block = 0; block < 24; block++) {
      const line = `block ${block}\n`;
      const expected = Buffer.from(line.repeat(Math.ceil(MIB / line.length)).slice(0, MIB));
      assert.equal(
        Buffer.compare(written.subarray(block * MIB, (block + 1) * MIB), expected),
        0,
        `block ${block}`,
      );
    }
  },
});

Deno.test({
  name: "a block device is a disk like a file",
  ignore: isNot("root, who alone may have a loop device", Deno.uid() === 0),
  fn: async () => {
    await using bench = await Bench.open();
    const image = await bench.disk("image", 4 * MIB);
    await Deno.writeFile(image, new TextEncoder().encode("from-image!!"));
    await Deno.truncate(image, 4 * MIB);
    const run = async (...args: string[]) => {
      const { code, stdout, stderr } = await host.processes.run({ program: "losetup", args });
      assert.equal(code, 0, stderr);
      return stdout.trim();
    };
    const device = await run("--find", "--show", image);
    try {
      const drives = [{ id: "root", path: device, format: "raw", readOnly: false, isDevice: true }] as const;
      await withMachine(bench.spec(kernel, "overlay", { drives }), async () => {
        await bench.waitForConsole("banger-init: idle");
        assert.match(bench.consoleText, /^read: from-image!!\r$/m);
        assert.match(bench.consoleText, /^written\r$/m);
      });
    } finally {
      await run("--detach", device);
    }
    assert.equal((await Deno.readTextFile(image)).slice(0, 12), "from-guest!!");
  },
});

Deno.test("two machines share one image below their overlays", async () => {
  await using first = await Bench.open();
  await using second = await Bench.open();
  const image = await first.disk("image", 4 * MIB);
  const machines: Machine[] = [];
  try {
    for (const bench of [first, second]) {
      const path = `${bench.directory}/root.qcow2`;
      await writeOverlay(host, path, { backingPath: image, virtualSizeBytes: 4 * MIB });
      const drives = [{ id: "root", path, format: "qcow2", backingPath: image, readOnly: false }] as const;
      machines.push(await driver.launch(bench.spec(kernel, "nothing", { drives })));
    }
    for (const machine of machines) assert.equal(await machine.status(), "running");
  } finally {
    for (const machine of machines) {
      await machine.kill();
      await reaped(machine.record.process);
    }
  }
});

Deno.test("launch() says in QEMU's words why it ended at once, and leaves nothing", async () => {
  await using bench = await Bench.open();
  const drives = [{ id: "root", path: `${bench.directory}/absent`, format: "raw", readOnly: false }] as const;
  await assert.rejects(
    driver.launch(bench.spec(kernel, "nothing", { drives })),
    isError("boot_failed", /QEMU ended at once: .*absent.*No such file/),
  );
  assert.deepEqual(await host.files.list(bench.directory), ["console.sock", "serial.sock", "vmm.log"]);
});

Deno.test("launch() refuses a disk that another machine writes", async () => {
  await using bench = await Bench.open();
  await using other = await Bench.open();
  const drives = [{
    id: "work",
    path: await bench.disk("work", MIB),
    format: "raw",
    readOnly: false,
  }] as const;
  await withMachine(bench.spec(kernel, "nothing", { drives }), async () => {
    await assert.rejects(
      driver.launch(other.spec(kernel, "nothing", { drives })),
      isError("boot_failed", /lock/),
    );
  });
});

Deno.test("launch() without QEMU says what to install", async () => {
  await using bench = await Bench.open();
  await assert.rejects(
    qemuDriver(host, { program: "qemu-system-absent" }).launch(bench.spec(kernel, "nothing")),
    isError("missing_tool", /not installed/),
  );
});

Deno.test("launch() refuses a runtime directory whose sockets would not fit", async () => {
  await using bench = await Bench.open();
  const runtimeDirectory = `${bench.directory}/${"x".repeat(100)}`;
  await assert.rejects(
    driver.launch(bench.spec(kernel, "nothing", { runtimeDirectory })),
    isError("host_unsupported", /107 is the most/),
  );
});

Deno.test("launch() that is cancelled leaves no process", async () => {
  await using bench = await Bench.open();
  const cancel = new AbortController();
  const launching = driver.launch(bench.spec(kernel, "nothing"), cancel.signal);
  const reason = new Error("cancelled by the test");
  const timer = setTimeout(() => cancel.abort(reason), 20);
  await assert.rejects(launching, reason);
  clearTimeout(timer);
  const { stdout } = await host.processes.run({ program: "ps", args: ["-eo", "args"] });
  assert.ok(!stdout.includes(bench.directory), stdout);
});

Deno.test("adopt() takes a process that only has the pid for gone", async () => {
  await using bench = await Bench.open();
  await withMachine(bench.spec(kernel, "nothing"), async (machine) => {
    const stale = { ...machine.record, process: { ...machine.record.process, startTimeTicks: 1 } };
    stale.controlSocket = `${bench.directory}/other.sock`;
    assert.equal(await driver.adopt(stale), undefined);
    const otherBoot = { ...stale, process: { ...machine.record.process, bootId: "another boot" } };
    assert.equal(await driver.adopt(otherBoot), undefined);
    assert.equal(await machine.status(), "running", "the machine that has the pid was touched");
  });
});

Deno.test("adopt() does not take a QEMU that can't be talked to for gone", async () => {
  await using bench = await Bench.open();
  await withMachine(bench.spec(kernel, "nothing"), async (machine) => {
    const controlSocket = `${bench.directory}/nobody.sock`;
    await assert.rejects(
      driver.adopt({ ...machine.record, controlSocket }),
      isError("state_broken", /does not answer/),
    );
    assert.equal(await machine.isAlive(), true);
  });
});
