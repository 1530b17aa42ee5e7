import assert from "node:assert/strict";
import { BangerError } from "../../../lib/base/errors.ts";
import type { MachineRecord } from "../../../lib/vmm/driver.ts";
import { parseMachineRecord } from "../../../lib/vmm/record.ts";

const PROCESS = { pid: 42, startTimeTicks: 1000, bootId: "b", executable: "/usr/bin/qemu-system-x86_64" };
const RECORD: MachineRecord = {
  driver: "qemu",
  machineId: "m",
  process: PROCESS,
  helpers: [{ ...PROCESS, pid: 43 }],
  controlSocket: "/run/m/qmp.sock",
  runtimeDirectory: "/run/m",
  endpoint: { kind: "hybrid", path: "/run/m/agent.sock" },
  acceleration: { kind: "tcg", why: "no vmx" },
};

Deno.test("parseMachineRecord() reads what JSON made of a record", () => {
  assert.deepEqual(parseMachineRecord(JSON.parse(JSON.stringify(RECORD))), RECORD);
  const overVsock = { ...RECORD, endpoint: { kind: "vsock", cid: 3 } };
  assert.deepEqual(parseMachineRecord(overVsock), overVsock);
  const apart = { ...RECORD, namespace: { card: "relay0", hasUserNamespace: true } };
  assert.deepEqual(parseMachineRecord(apart), apart);
});

const BROKEN: readonly [string, unknown][] = [
  ["nothing", undefined],
  ["a list", [RECORD]],
  ["another driver", { ...RECORD, driver: "bochs" }],
  ["pid 0, which would signal our own group", { ...RECORD, process: { ...PROCESS, pid: 0 } }],
  ["pid -1, which would signal everybody", { ...RECORD, process: { ...PROCESS, pid: -1 } }],
  ["a broken helper", { ...RECORD, helpers: [{ pid: 1 }] }],
  ["a relative socket", { ...RECORD, controlSocket: "qmp.sock" }],
  ["a vsock address of the host's own", { ...RECORD, endpoint: { kind: "vsock", cid: 2 } }],
  ["a namespace that says nothing of users", { ...RECORD, namespace: { card: "relay0" } }],
  ["no acceleration", { ...RECORD, acceleration: null }],
];

for (const [what, value] of BROKEN) {
  Deno.test(`parseMachineRecord() refuses ${what}`, () => {
    assert.throws(
      () => parseMachineRecord(value),
      (thrown) => thrown instanceof BangerError && thrown.code === "state_broken",
    );
  });
}
