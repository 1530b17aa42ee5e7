import assert from "node:assert/strict";
import { qemuDriver } from "../../../lib/vmm/qemu/driver.ts";
import { Bench, host, isError, reaped, tinyKernel } from "./tiny_guest.ts";
import { vhostDeviceVsock } from "./vhost_device_vsock.ts";

const driver = qemuDriver(host);
const kernel = await tinyKernel();
const program = await vhostDeviceVsock();

/** Asks for a port where nobody listens in the guest: only a guest with a working vsock refuses it. */
async function isRefusedByGuest(path: string): Promise<boolean> {
  using connection = await Deno.connect({ transport: "unix", path });
  await connection.write(new TextEncoder().encode("CONNECT 42070\n"));
  const answered = connection.read(new Uint8Array(64)).then(() => true, () => true);
  let timer: ReturnType<typeof setTimeout> | undefined;
  const silence = new Promise<false>((resolve) => timer = setTimeout(() => resolve(false), 5000));
  const result = await Promise.race([answered, silence]);
  clearTimeout(timer);
  if (!result) {
    connection.close();
    await answered;
  }
  return result;
}

Deno.test("over vhost-device-vsock the guest answers on the hybrid socket, and the helper ends with the machine", async () => {
  await using bench = await Bench.open();
  const transport = { kind: "vhost-device-vsock", cid: 77, program } as const;
  const machine = await driver.launch(bench.spec(kernel, "nothing", { transport }));
  const [helper] = machine.record.helpers;
  try {
    assert.ok(helper && await host.processes.isAlive(helper));
    await bench.waitForConsole("banger-init: idle");
    assert.equal(machine.endpoint.kind, "hybrid");
    assert.ok(machine.endpoint.kind === "hybrid" && await isRefusedByGuest(machine.endpoint.path));
    // As after a crash of QEMU while no daemon ran: adopting finds it gone, and clears away its helper.
    await host.processes.signal(machine.record.process, "SIGKILL");
    assert.equal(await host.processes.waitForExit(machine.record.process, 5000), true);
    assert.equal(await driver.adopt(machine.record), undefined);
    assert.equal(await host.processes.isAlive(helper), false);
  } finally {
    await machine.kill();
    await reaped(machine.record.process, ...machine.record.helpers);
  }
});

Deno.test("a vhost-device-vsock that ends at once is named, and no QEMU is started", async () => {
  await using bench = await Bench.open();
  const failing = await host.processes.which("false");
  const transport = { kind: "vhost-device-vsock", cid: 77, program: failing! } as const;
  await assert.rejects(
    driver.launch(bench.spec(kernel, "nothing", { transport })),
    isError("boot_failed", /vhost-device-vsock ended at once/),
  );
  const { stdout } = await host.processes.run({ program: "ps", args: ["-eo", "args"] });
  assert.ok(!stdout.includes(bench.directory), stdout);
});

Deno.test("launch() refuses a vsock address that is the host's own", async () => {
  await using bench = await Bench.open();
  for (const cid of [0, 1, 2, 2 ** 32 - 1, 3.5]) {
    const transport = { kind: "vhost-device-vsock", cid, program } as const;
    await assert.rejects(
      driver.launch(bench.spec(kernel, "nothing", { transport })),
      isError("invalid_argument", /CID/),
    );
  }
});
