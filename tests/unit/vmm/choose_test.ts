import assert from "node:assert/strict";
import { BangerError } from "../../../lib/base/errors.ts";
import { hostDrivers } from "../../../lib/vmm/drivers.ts";
import { realHost } from "../../../lib/sys/host.ts";
import { libc } from "../../../lib/sys/libc.ts";
import { decideDriver, type DriverFacts, type DriverWishes } from "../../../lib/vmm/choose.ts";

// Opened once and for good by whoever reads a kernel's file first: here, so that no test seems to leak it.
libc();

const KVM = { kind: "kvm", why: "the processor has vmx" } as const;
const TCG = { kind: "tcg", why: "the processor has no vmx" } as const;
const INSTALLED: DriverFacts = {
  acceleration: KVM,
  firecrackerPath: "/usr/bin/firecracker",
  firecrackerVersion: "v1.16.1",
};
const WISHES: DriverWishes = { network: "tap", rootFormat: "raw" };

const CASES: readonly [string, Partial<DriverWishes>, Partial<DriverFacts>, string, RegExp][] = [
  ["KVM and Firecracker", {}, {}, "firecracker", /KVM works and Firecracker is installed/],
  ["no network at all", { network: "none" }, {}, "firecracker", /installed/],
  ["no KVM", {}, { acceleration: TCG }, "qemu", /it needs KVM, and the processor has no vmx/],
  ["no Firecracker", {}, { firecrackerPath: undefined }, "qemu", /not installed/],
  ["an old Firecracker", {}, { firecrackerVersion: "v1.14.3" }, "qemu", /1\.14\.3 has known security holes/],
  ["a Firecracker that says nothing", {}, { firecrackerVersion: "" }, "qemu", /its version "" can't be read/],
  ["user-mode networking", { network: "user" }, {}, "firecracker", /installed/],
  [
    "user-mode networking where there are no namespaces",
    { network: "user" },
    { namespaceObstacle: { why: "/dev/net/tun is absent", remedy: "sudo modprobe tun" } },
    "qemu",
    /no network without root: \/dev\/net\/tun is absent \(sudo modprobe tun\)/,
  ],
  [
    "a jailer",
    { isJailed: true },
    { jailerPath: "/usr/bin/jailer", isRoot: true },
    "firecracker",
    /installed/,
  ],
  ["a jailer without root", { isJailed: true }, { jailerPath: "/usr/bin/jailer" }, "qemu", /needs root/],
  [
    "no jailer where one is wished",
    { isJailed: true },
    { isRoot: true },
    "qemu",
    /jailer.* is not installed/,
  ],
  ["an overlay", { rootFormat: "qcow2" }, {}, "qemu", /no qcow2/],
  ["QEMU asked for", { requested: "qemu" }, {}, "qemu", /asked for/],
  ["Firecracker asked for", { requested: "firecracker" }, {}, "firecracker", /asked for/],
];

for (const [what, wishes, facts, driver, why] of CASES) {
  Deno.test(`decideDriver() takes ${driver} with ${what}`, () => {
    const choice = decideDriver({ ...WISHES, ...wishes }, { ...INSTALLED, ...facts });
    assert.equal(choice.driver, driver);
    assert.match(choice.why, why);
  });
}

for (
  const [what, wishes, facts, code] of [
    ["without KVM", {}, { acceleration: TCG }, "host_unsupported"],
    ["that is not installed", {}, { firecrackerPath: undefined }, "missing_tool"],
    ["with known holes", {}, { firecrackerVersion: "v1.15.0" }, "host_unsupported"],
    [
      "with user-mode networking where there are no namespaces",
      { network: "user" },
      { namespaceObstacle: { why: "unshare is not installed", remedy: "install util-linux" } },
      "host_unsupported",
    ],
  ] as const
) {
  Deno.test(`decideDriver() refuses a Firecracker ${what} that was asked for`, () => {
    assert.throws(
      () => decideDriver({ ...WISHES, ...wishes, requested: "firecracker" }, { ...INSTALLED, ...facts }),
      (thrown) => thrown instanceof BangerError && thrown.code === code,
    );
  });
}

Deno.test("hostDrivers().choose() says what to install where no VMM is, before anything is made for it", async () => {
  const host = realHost();
  const bare = { ...host, processes: { ...host.processes, which: () => Promise.resolve(undefined) } };
  const choosing = hostDrivers(bare, () => Promise.resolve({}), { metrics: () => "", jail: () => "" }).choose(
    WISHES,
  );
  await assert.rejects(choosing, (thrown) => {
    assert.ok(thrown instanceof BangerError);
    assert.equal(thrown.code, "missing_tool");
    assert.match(thrown.hint ?? "", /apt-get install qemu-system-x86/);
    return true;
  });
});
