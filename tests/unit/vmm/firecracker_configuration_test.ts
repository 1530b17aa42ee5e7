import assert from "node:assert/strict";
import { BangerError } from "../../../lib/base/errors.ts";
import type { MachineSpec } from "../../../lib/vmm/driver.ts";
import { firecrackerConfiguration } from "../../../lib/vmm/firecracker/configuration.ts";
import { canLimitConsole, requireSupportedVersion } from "../../../lib/vmm/firecracker/version.ts";
import { ApiDescription } from "./firecracker_api.ts";

const SPEC: MachineSpec = {
  id: "a",
  runtimeDirectory: "/run/a",
  cpus: 2,
  memoryMib: 512,
  kernel: { vmlinuxPath: "/k/vmlinux", initramfsPath: "/k/initramfs", extraCommandLine: "loglevel=7" },
  drives: [
    { id: "root", path: "/v/root.raw", format: "raw", readOnly: false },
    { id: "config", path: "/v/config.tar", format: "raw", readOnly: true },
  ],
  network: { mode: "tap", mac: "06:00:00:00:00:01", tapName: "tap0" },
  transport: { kind: "firecracker-vsock", cid: 5 },
  logPath: "/v/log",
  consolePath: "/v/console.log",
};

Deno.test("firecrackerConfiguration() is made of bodies that the API's description allows", async () => {
  const description = await ApiDescription.read();
  const made = firecrackerConfiguration(SPEC, requireSupportedVersion("1.16.1"));
  const requests: [string, object][] = [
    ["/serial", made.serial],
    ["/machine-config", made.machine],
    ["/boot-source", made.bootSource],
    ["/drives/root", made.drives[0]!],
    ["/drives/config", made.drives[1]!],
    ["/network-interfaces/eth0", made.network!],
    ["/vsock", made.vsock],
    ["/balloon", made.balloon],
  ];
  for (const [path, body] of requests) {
    assert.deepEqual(description.checkRequest("PUT", path, body), [], path);
  }
  assert.equal(made.serial.serial_out_path, "/v/console.log");
  assert.match(made.bootSource.boot_args!, /reboot=k.* loglevel=7$/);
  assert.deepEqual(made.vsock, { guest_cid: 5, uds_path: "/run/a/agent.sock" });
});

Deno.test("every disk honours the guest's flush: the API's default would drop it", () => {
  const made = firecrackerConfiguration(SPEC, requireSupportedVersion("1.14.4"));
  for (const drive of made.drives) assert.equal(drive.cache_type, "Writeback");
});

Deno.test("the card of a machine in a namespace tells its MTU from 1.16 on, and is refused by nobody before", async () => {
  const description = await ApiDescription.read();
  const spec: MachineSpec = { ...SPEC, network: { mode: "user", mac: "52:54:00:42:00:01" } };
  const card = { iface_id: "eth0", host_dev_name: "vm0", guest_mac: "52:54:00:42:00:01" };
  const { network } = firecrackerConfiguration(spec, requireSupportedVersion("1.16.0"));
  assert.deepEqual(network, { ...card, mtu: 65_520 });
  assert.deepEqual(description.checkRequest("PUT", "/network-interfaces/eth0", network!), []);
  assert.deepEqual(firecrackerConfiguration(spec, requireSupportedVersion("1.15.1")).network, card);
});

const REFUSED: readonly [string, Partial<MachineSpec>, string, RegExp][] = [
  ["another transport", { transport: { kind: "virtio-serial" } }, "invalid_argument", /vsock of its own/],
  [
    "the host's own vsock address",
    { transport: { kind: "firecracker-vsock", cid: 2 } },
    "invalid_argument",
    /CID/,
  ],
  [
    "a qcow2 overlay",
    { drives: [{ id: "root", path: "/r", format: "qcow2", backingPath: "/b", readOnly: false }] },
    "host_unsupported",
    /raw disks only/,
  ],
];

for (const [what, parts, code, text] of REFUSED) {
  Deno.test(`firecrackerConfiguration() refuses ${what}`, () => {
    assert.throws(
      () => firecrackerConfiguration({ ...SPEC, ...parts }, requireSupportedVersion("1.16.1")),
      (thrown) => thrown instanceof BangerError && thrown.code === code && text.test(thrown.message),
    );
  });
}

/** The judge itself: it must see what is wrong, or its silence says nothing. */
const WRONG: readonly [string, string, string, unknown, RegExp][] = [
  ["an unknown path", "PUT", "/drivez/a", {}, /no operation/],
  ["an unknown method", "POST", "/actions", {}, /no operation/],
  ["a missing field", "PUT", "/boot-source", {}, /lacks kernel_image_path/],
  ["an unknown field", "PUT", "/vsock", { guest_cid: 3, uds_path: "/x", cid: 3 }, /unknown cid/],
  ["a wrong type", "PUT", "/vsock", { guest_cid: "3", uds_path: "/x" }, /no integer/],
  ["too small a number", "PUT", "/vsock", { guest_cid: 2, uds_path: "/x" }, /below 3/],
  ["no word of the list", "PUT", "/actions", { action_type: "Explode" }, /none of/],
  ["no body", "PUT", "/actions", undefined, /needs a body/],
  ["two ids", "PUT", "/drives/a", { drive_id: "b", is_root_device: false }, /not the path's/],
];

for (const [what, method, path, body, problem] of WRONG) {
  Deno.test(`the judge of requests sees ${what}`, async () => {
    const problems = (await ApiDescription.read()).checkRequest(method, path, body);
    assert.match(problems.join("; "), problem);
  });
}

const VERSIONS = [
  ["1.14.3", false],
  ["1.14.4", true],
  ["1.15.0", false],
  ["1.15.1", true],
  ["1.16.0", true],
  ["v1.16.1", true],
  ["1.16.1-dirty", true],
  ["2.0.0", true],
  ["1.13.9", false],
  ["0.99.99", false],
  ["", false],
  ["1.16", false],
  ["1.16.1\u001b[2J", false],
] as const;

for (const [version, isSupported] of VERSIONS) {
  Deno.test(`requireSupportedVersion() ${isSupported ? "takes" : "refuses"} ${JSON.stringify(version)}`, () => {
    if (isSupported) return void requireSupportedVersion(version);
    assert.throws(
      () => requireSupportedVersion(version),
      (thrown) => thrown instanceof BangerError && thrown.code === "host_unsupported",
    );
  });
}

Deno.test("canLimitConsole() from 1.16 on", () => {
  assert.equal(canLimitConsole({ major: 1, minor: 15, patch: 9 }), false);
  assert.equal(canLimitConsole({ major: 1, minor: 16, patch: 0 }), true);
  assert.equal(canLimitConsole({ major: 2, minor: 0, patch: 0 }), true);
});
