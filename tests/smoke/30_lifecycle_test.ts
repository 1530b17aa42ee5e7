import assert from "node:assert/strict";
import { assertCleanFilesystem } from "./clean_stop.ts";
import {
  banger,
  isAlive,
  killDaemon,
  machineProcesses,
  ok,
  refused,
  removing,
  start,
  STATE,
  until,
  vm,
  vmNames,
} from "./fixture.ts";

Deno.test("a VM keeps its files over stop and start, with the daemon killed between any two commands", async () => {
  await using _a = removing("a");
  assert.equal(await ok(["vm", "create", "--name", "a"]), "a\n");
  await killDaemon();
  await ok(["vm", "exec", "a", "--", "touch", "/root/x", "/etc/y"]);
  await killDaemon();
  await ok(["vm", "stop", "a"]);
  await killDaemon();
  const { id } = await vm("a");
  await assertCleanFilesystem(`${STATE}/vms/${id}/work.raw`);
  await ok(["vm", "start", "a"]);
  await killDaemon();
  assert.equal(await ok(["vm", "exec", "a", "--", "ls", "/root/x", "/etc/y"]), "/etc/y\n/root/x\n");
  await killDaemon();
  await refused(["vm", "rm", "a"], 4, /it is running/);
  await refused(["vm", "start", "a"], 4, /it is running/);
  await refused(["image", "rm", "debian-bookworm"], 4, /uses? it/);
  await refused(["kernel", "rm", "debian"], 4, /used by a/);
  await ok(["vm", "rm", "--force", "--purge", "a"]);
  assert.deepEqual(await vmNames(), []);
  assert.deepEqual(await machineProcesses(), []);
});

Deno.test("a command that runs is not cut by the daemon's death", async () => {
  await using _b = removing("b");
  await ok(["vm", "create", "--name", "b"]);
  const running = start(["vm", "exec", "b", "--", "sh", "-c", "echo begun; sleep 3; echo done; exit 5"]);
  const reader = running.stdout.getReader();
  const first = await reader.read();
  await killDaemon();
  let text = new TextDecoder().decode(first.value);
  for (let next = await reader.read(); !next.done; next = await reader.read()) {
    text += new TextDecoder().decode(next.value);
  }
  assert.equal(text, "begun\ndone\n");
  assert.equal((await running.status).code, 5);
  await running.stderr.cancel();

  // A machine that dies is noticed, and the VM starts again.
  const { vmm } = await vm("b") as { vmm: { pid: number } };
  Deno.kill(vmm.pid, "SIGKILL");
  await until(async () => (await vm("b")).state === "stopped", "the end of the machine is noticed");
  assert.match(await ok(["vm", "show", "b"]), /Last end:\s+ended by itself/);
  assert.deepEqual(await machineProcesses(), []);
  await refused(["vm", "exec", "b", "--", "true"], 4, /it is stopped[\s\S]*banger vm start b/);
  await refused(["vm", "stop", "b"], 4, /it is stopped/);
  await ok(["vm", "start", "b"]);
  assert.match(await ok(["vm", "logs", "b"]), /banger-init: start/);

  // So is the end of a relay: a new one takes over, and the machine runs on.
  const relay = (await machineProcesses()).map(Number).find((pid) =>
    Deno.readTextFileSync(`/proc/${pid}/cmdline`).includes("relay")
  )!;
  Deno.kill(relay, "SIGKILL");
  await until(() => !isAlive(relay), "the relay is gone");
  await until(
    async () => (await banger(["vm", "exec", "b", "--", "true"])).code === 0,
    "a new relay takes over",
  );
  assert.equal((await vm("b")).state, "running");

  // One that shuts down by itself is stopped, too.
  await banger(["vm", "exec", "b", "--", "systemctl", "poweroff"]);
  await until(async () => (await vm("b")).state === "stopped", "the guest's own shutdown is noticed");
});

Deno.test("of two creations of one name at once one wins, and the other says why", async () => {
  await using _c = removing("c");
  const both = await Promise.all([1, 2].map(() => banger(["vm", "create", "--no-start", "--name", "c"])));
  assert.deepEqual(both.map(({ code }) => code).sort(), [0, 4]);
  assert.match(both.find(({ code }) => code === 4)!.stderr, /the name is taken/);
  await refused(["vm", "create", "--name", "c"], 4, /the name is taken/);
});

Deno.test("Ctrl-C while a VM is made undoes everything", async () => {
  const creating = start(["vm", "create", "--name", "d"]);
  const reader = creating.stderr.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  while (!text.includes("starting:")) {
    const next = await reader.read();
    assert.ok(!next.done, text);
    text += next.value;
  }
  creating.kill("SIGINT");
  for (let next = await reader.read(); !next.done; next = await reader.read()) text += next.value;
  assert.equal((await creating.status).code, 130, text);
  assert.match(text, /cancel/);
  await creating.stdout.cancel();
  assert.deepEqual(await vmNames(), []);
  assert.deepEqual(await machineProcesses(), []);
  assert.deepEqual([...Deno.readDirSync(`${STATE}/vms`)], []);
});

Deno.test("a daemon that dies while it makes a VM leaves nothing of it", async () => {
  const creating = start(["vm", "create", "--name", "e"]);
  await until(async () => (await machineProcesses()).length >= 2, "machine and relay run");
  await killDaemon();
  const [status, stderr] = await Promise.all([creating.status, new Response(creating.stderr).text()]);
  await creating.stdout.cancel();
  assert.equal(status.code, 5, stderr);
  assert.match(stderr, /the daemon ended before it did/);
  // The next daemon keeps a VM whose disks were made, stopped, and ends the machine that nobody was told of.
  for (const name of await vmNames()) {
    assert.equal((await vm(name)).state, "stopped");
    await ok(["vm", "rm", "--purge", name]);
  }
  assert.deepEqual(await machineProcesses(), []);
  assert.deepEqual([...Deno.readDirSync(`${STATE}/vms`)], []);
});
