import assert from "node:assert/strict";
import { vhostDeviceVsock } from "../host/vmm/vhost_device_vsock.ts";
import { libc } from "../../lib/sys/libc.ts";
import { banger, killDaemon, machineProcesses, ok, removing, vm } from "./fixture.ts";

// Loaded for the life of the process, not of the first test that needs it.
libc();

Deno.test("the same over vsock, through vhost-device-vsock", async () => {
  // The daemon reads where the program is when it starts.
  await killDaemon();
  const env = { BANGER_VHOST_DEVICE_VSOCK: await vhostDeviceVsock(), BANGER_TRANSPORT: "vhost-device-vsock" };
  try {
    await using _v = removing("v");
    await ok(["vm", "create", "--name", "v"], { env });
    assert.equal((await vm("v")).transport, "vhost-device-vsock");
    const result = await banger(["vm", "exec", "v", "--", "sh", "-c", "cat; echo err >&2; exit 4"], {
      stdin: "over vsock",
    });
    assert.deepEqual(result, { code: 4, stdout: "over vsock", stderr: "err\n" });
    assert.equal(
      await ok(["vm", "exec", "v", "--", "sh", "-c", "head -c 5000000 /dev/zero | wc -c"]),
      "5000000\n",
    );
    await ok(["vm", "stop", "v"]);
    assert.match(await ok(["vm", "show", "v"]), /Last end:\s+shut down/);
  } finally {
    await killDaemon();
  }
  assert.deepEqual(await machineProcesses(), []);
});

Deno.test("a transport that is not there is an error with a remedy, and leaves nothing", async () => {
  const result = await banger(["vm", "create", "--name", "v"], {
    env: { BANGER_TRANSPORT: "vhost-device-vsock" },
  });
  assert.equal(result.code, 5, result.stderr);
  assert.match(result.stderr, /BANGER_VHOST_DEVICE_VSOCK/);
  assert.deepEqual(JSON.parse(await ok(["vm", "list", "--all", "--json"])), []);
});
