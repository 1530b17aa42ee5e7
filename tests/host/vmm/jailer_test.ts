/**
 * A machine in Firecracker's jail. The jailer is played (fake_jailer.py), as is Firecracker; the jail, its files and
 * owners, and what becomes of them are real.
 */
import assert from "node:assert/strict";
import type { Machine, MachineSpec } from "../../../lib/vmm/driver.ts";
import { firecrackerDriver } from "../../../lib/vmm/firecracker/driver.ts";
import { removeJailDirectory } from "../../../lib/vmm/firecracker/jail.ts";
import { obstacleToNamespace } from "../../../lib/vmm/firecracker/namespace.ts";
import { parseMachineRecord } from "../../../lib/vmm/record.ts";
import { FAKE_JAILER, withFakeFirecracker } from "./fake_host.ts";
import { Bench, host as realOne, isError, reaped } from "./tiny_guest.ts";

const host = withFakeFirecracker(realOne);
const CID = 7;
const USER = 1_900_000_000 + CID;
const why = Deno.uid() === 0 ? (await obstacleToNamespace(host, true))?.why : "the jailer needs root";
if (why) console.log(`skipped: machines in Firecracker's jail: ${why}`);

function driverOf(bench: Bench, program = FAKE_JAILER) {
  return firecrackerDriver(host, {
    acceleration: { kind: "kvm", why: "the test says so" },
    isRoot: true,
    metricsPath: () => `${bench.directory}/metrics.json`,
    jailer: {
      program,
      baseDirectory: () => `${bench.directory}/jail`,
      cgroupRoot: `${bench.directory}/cgroup`,
    },
  });
}

async function specOf(bench: Bench): Promise<MachineSpec> {
  const kernel = {
    vmlinuxPath: await bench.disk("vmlinux", 1),
    initramfsPath: await bench.disk("initramfs", 1),
  };
  await Deno.chmod(kernel.vmlinuxPath, 0o644);
  await Deno.chmod(kernel.initramfsPath, 0o600);
  const drives = [
    { id: "root", path: await bench.disk("root.raw", 512), format: "raw", readOnly: false },
    { id: "modules", path: await bench.disk("modules.ext4", 512), format: "raw", readOnly: true },
  ] as const;
  const network = { mode: "user", mac: "52:54:00:00:00:01" } as const;
  const transport = { kind: "firecracker-vsock", cid: CID } as const;
  return { ...bench.spec(kernel, "nothing"), drives, network, transport };
}

/** Nothing of the jail is there, and the VM's files are root's again. */
async function assertUndone(bench: Bench): Promise<void> {
  for (const path of ["jail", "cgroup/banger/tiny"]) {
    assert.equal(await host.files.stat(`${bench.directory}/${path}`), undefined, path);
  }
  for (const name of await host.files.list(bench.directory)) {
    assert.equal((await host.files.stat(`${bench.directory}/${name}`))?.uid, 0, name);
  }
  const { stdout } = await realOne.processes.run({ program: "ps", args: ["-eo", "args"] });
  assert.ok(!stdout.includes(bench.directory), stdout);
  await childrenReaped();
}

const REAPED_WITHIN_MS = 60_000;

/** Of other tests of this process, which may leave some to be reaped later. */
const childrenBefore = new Set(await children());

/** Of this process, but for the one that looks. */
async function children(): Promise<string[]> {
  const args = ["-o", "pid=,comm=", "--ppid", `${Deno.pid}`];
  const { stdout } = await realOne.processes.run({ program: "ps", args });
  return stdout.trim().split("\n").map((line) => line.trim()).filter((line) => !line.endsWith(" ps"));
}

/** As `reaped`, where the process is not known: the leak sanitizer asks whether Deno has noticed its end. */
async function childrenReaped(): Promise<void> {
  const deadlineMs = performance.now() + REAPED_WITHIN_MS;
  for (;;) {
    const left = (await children()).filter((child) => child !== "" && !childrenBefore.has(child));
    if (left.length === 0) break;
    assert.ok(performance.now() < deadlineMs, `not reaped: ${left.join(", ")}`);
    await host.clock.sleep(5);
  }
  await host.clock.sleep(20);
}

async function ended(machine: Machine, bench: Bench): Promise<void> {
  await machine.kill();
  await reaped(machine.record.process);
  await assertUndone(bench);
}

function test(name: string, body: (bench: Bench) => Promise<void>): void {
  Deno.test({
    name,
    ignore: why !== undefined,
    async fn() {
      await using bench = await Bench.open();
      await body(bench);
    },
  });
}

test("a jailed machine sees the jail's names only, owns its own files while it runs, and leaves nothing", async (bench) => {
  const spec = await specOf(bench);
  const machine = await driverOf(bench).launch(spec);
  const root = `${bench.directory}/jail/firecracker/tiny/root`;
  const { record } = machine;
  assert.deepEqual(record.jail, {
    directory: `${bench.directory}/jail`,
    root,
    cgroup: `${bench.directory}/cgroup/banger/tiny`,
  });
  assert.deepEqual(record.namespace, { card: "relay0", hasUserNamespace: false });
  assert.equal(machine.endpoint.kind === "hybrid" && machine.endpoint.path, `${root}/agent.sock`);

  const asked = (await Deno.readTextFile(`${root}/api.sock.requests`)).trim().split("\n").map((line) =>
    JSON.parse(line)
  );
  for (const { operation, problems } of asked) assert.deepEqual(problems, [], operation);
  const paths = JSON.stringify(asked.map(({ body }) => body ?? {}));
  assert.ok(!paths.includes(bench.directory), paths);
  for (
    const name of [
      "/vmlinux",
      "/initramfs",
      "/root.disk",
      "/modules.disk",
      "/console.log",
      "/machine.log",
      "/metrics.json",
      "/agent.sock",
    ]
  ) {
    assert.ok(paths.includes(`"${name}"`), `${name} in ${paths}`);
  }

  const inode = async (path: string) => (await Deno.stat(path)).ino;
  const disk = spec.drives[0]!.path;
  assert.equal(
    await inode(`${root}/root.disk`),
    await inode(disk),
    "a link, so that what it writes is the VM's",
  );
  assert.equal((await Deno.stat(disk)).uid, USER);
  assert.equal(
    await inode(`${root}/vmlinux`),
    await inode(spec.kernel.vmlinuxPath),
    "others may read it: a link",
  );
  assert.notEqual(
    await inode(`${root}/initramfs`),
    await inode(spec.kernel.initramfsPath),
    "only root may: a copy",
  );
  assert.equal((await Deno.stat(spec.kernel.initramfsPath)).uid, 0, "and it stays root's");
  assert.ok(await host.files.stat(record.jail!.cgroup!));

  // The next daemon: it knows the machine from the record alone.
  const adopted = await driverOf(bench).adopt(parseMachineRecord(JSON.parse(JSON.stringify(record))));
  assert.equal(await adopted!.status(), "running");
  await adopted!.growDrive({ id: "root", path: disk }, 8192);
  assert.equal((await Deno.stat(disk)).size, 8192);
  assert.match(
    await Deno.readTextFile(`${root}/api.sock.requests`),
    /"path_on_host":"\/root\.disk"[^\n]*\n$/,
  );
  await ended(adopted!, bench);
});

test("a jailed launch that fails at any step leaves nothing", async (bench) => {
  const spec = await specOf(bench);
  await assert.rejects(
    driverOf(bench).launch({ ...spec, kernel: { ...spec.kernel, vmlinuxPath: `${bench.directory}/absent` } }),
    isError("host_unsupported", /jail: .*absent/),
  );
  await assertUndone(bench);
  await assert.rejects(driverOf(bench, "/bin/false").launch(spec), isError("boot_failed", /ended at once/));
  await assertUndone(bench);
  // Refused once it runs.
  await assert.rejects(
    driverOf(bench).launch({ ...spec, cpus: 33 }),
    isError("invalid_argument", /at most 32/),
  );
  await assertUndone(bench);
});

test("what a killed daemon left of a jailed machine is found without any record", async (bench) => {
  const machine = await driverOf(bench).launch(await specOf(bench));
  await host.files.remove(`${bench.directory}/cgroup`); // goes with the VM's next start
  await removeJailDirectory(host, `${bench.directory}/jail`);
  assert.equal(await machine.isAlive(), false);
  await reaped(machine.record.process);
  await assertUndone(bench);
  await removeJailDirectory(host, `${bench.directory}/jail`);
});
