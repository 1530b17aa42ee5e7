/** What is done to one running VM, and looked at: the scenarios share it. */
import assert from "node:assert/strict";
import {
  banger,
  HOME,
  machineProcesses,
  ok,
  otherHome,
  refused,
  removing,
  start,
  STATE,
  until,
  vm,
  vmNames,
} from "./fixture.ts";
import { LEFT_OUT_MODULES, makeSecondKernel, SECOND } from "./second_kernel.ts";
import { removeSmallImage, smallImage } from "./small_vm.ts";

const exec = (...argv: string[]) => ok(["vm", "exec", "s", "--", ...argv]);

/** Gathers what a process prints. */
function gather(stream: ReadableStream<Uint8Array>): { text: () => string; done: Promise<void> } {
  let text = "";
  const done = (async () => {
    for await (const chunk of stream.pipeThrough(new TextDecoderStream())) text += chunk;
  })();
  return { text: () => text, done };
}

Deno.test("one VM over its life", async (t) => {
  await using _s = removing("s");
  const flags = ["--cpus", "1", "--memory", "512M", "--disk", "256M", "--network", "none"];
  await ok(["vm", "create", "--name", "s", "--image", await smallImage(), ...flags]);

  await t.step("lists show what runs and what it really takes", async () => {
    const table = await ok(["ps"]);
    assert.match(table, /^NAME +STATE +IMAGE +CPUS +MEMORY +DISK +ADDRESS +AGE$/m);
    assert.match(
      table,
      /^s +running +surface +1 +[\d.]+ MiB \/ 512 MiB +[\d.]+ [KM]iB +127\.42\.\d+\.\d+ +\d+ (s|min)$/m,
    );
    for (const alias of [["vm", "ls"], ["vm", "ps"], ["vm", "list"]]) {
      assert.match(await ok(alias), /^s +running/m);
    }
    const [one] = JSON.parse(await ok(["ps", "--latest", "--json"])) as Record<string, number | string>[];
    assert.equal(one!.name, "s");
    assert.ok(one!.memoryUsedBytes as number > 2 ** 20 && one!.diskUsedBytes as number > 0);
    assert.ok((await ok(["ps", "-q"])).split("\n").includes("s"));
    await refused(["ps", "--removed", "--all"], 2, /what is in the trash is listed alone/);
  });

  await t.step("stats show host's and guest's view, once and again and again", async () => {
    assert.match(
      await ok(["vm", "stats", "s"]),
      /^s +running +\d+\.\d% +\d+\.\d\d +[\d.]+ MiB \/ 512 MiB \([\d.]+ MiB\)/m,
    );
    const [one] = JSON.parse(await ok(["vm", "stats", "--json", "s"])) as {
      guest: { filesystems: { path: string }[] };
    }[];
    assert.deepEqual(one!.guest.filesystems.map(({ path }) => path), ["/", "/root"]);
    const watching = start(["vm", "stats", "--watch", "--json", "--interval", "0.2", "s"]);
    const shown = gather(watching.stdout);
    await until(() => shown.text().split("\n").length > 3, "three looks");
    watching.kill("SIGINT");
    assert.equal((await watching.status).code, 0);
    await Promise.all([shown.done, watching.stderr.cancel()]);
    for (const line of shown.text().trim().split("\n")) assert.equal(JSON.parse(line)[0].name, "s");
    await refused(["vm", "stats", "nobody"], 3, /Cannot find VM nobody/);
  });

  await t.step("memory that the guest is done with goes back to the host", async () => {
    const used = async () =>
      (JSON.parse(await ok(["ps", "--latest", "--json"])) as { memoryUsedBytes: number }[])[0]!
        .memoryUsedBytes;
    const busybox = "/run/banger/bin/busybox";
    await exec(busybox, "dd", "if=/dev/zero", "of=/dev/shm/filled", "bs=1M", "count=160");
    const filled = await used();
    assert.ok(filled > 160 * 2 ** 20, `${filled}`);
    await exec(busybox, "rm", "/dev/shm/filled");
    await until(async () => filled - await used() > 100 * 2 ** 20, "the host has it again");
  });

  await t.step("health tells versions, and by its code whether all is well", async () => {
    assert.match(
      await ok(["vm", "health", "s"]),
      /Health: +it works[\s\S]*Agent: .*the same build as this banger/,
    );
    const [one] = JSON.parse(await ok(["vm", "health", "--json"])) as {
      isHealthy: boolean;
      vmm: { status: string };
    }[];
    assert.deepEqual([one!.isHealthy, one!.vmm.status], [true, "running"]);
  });

  await t.step("a dry run changes nothing; the disk grows at once, the rest waits and says so", async () => {
    await exec("sh", "-c", "echo kept >/root/file");
    await ok(["kernel", "import", "second", "--from", await makeSecondKernel(), "--quiet"]);
    const machine = ["--cpus", "2", "--memory", "640M", "--kernel", "second"];
    const change = ["--disk", "512M", ...machine, "--env", "COLOUR=blue"];
    const planned = await ok(["vm", "set", "s", "--dry-run", ...change]);
    assert.match(planned, /^disk +256 MiB +512 MiB +now$/m);
    assert.match(planned, /^kernel +debian +second +next start$/m);
    assert.equal((await vm("s")).workDiskBytes, 256 * 2 ** 20);
    const sizeKib = async () => Number(/\n\S+ +(\d+)/.exec(await exec("busybox", "df", "-k", "/root"))![1]);
    const before = await sizeKib();
    const set = await banger(["vm", "set", "s", ...change]);
    assert.equal(set.code, 0, set.stderr);
    assert.match(set.stderr, /disk: 256 MiB to 512 MiB\n/);
    assert.match(set.stderr, /cpus: 1 to 2, from its next start on[\s\S]*banger vm restart s/);
    assert.ok(await sizeKib() > 1.8 * before, "the guest sees it at once");
    assert.equal(await exec("cat", "/root/file"), "kept\n");
    assert.match(await ok(["vm", "show", "s"]), /CPUs: +2 from its next start on/);
    await refused(["vm", "set", "s", "--disk", "256M"], 2, /disks only grow/);
    await refused(["vm", "set", "s"], 2, /nothing says what/);
    await refused(["vm", "set", "s", "--memory", "1M"], 2, /128 MiB is the least/);
    assert.match(await ok(["vm", "show", "s"]), /Kernel: +second from its next start on/);
    for (const dry of [[], ["--dry-run"]]) {
      await refused(["vm", "set", "s", "--kernel", "none", ...dry], 3, /Cannot find kernel "none"/);
    }
    await refused(["kernel", "rm", "debian"], 4, /used by s \(until its next start\)/);
  });

  await t.step("logs -f go on with the console until the VM ends; restart brings what was set", async () => {
    const following = start(["vm", "logs", "-f", "-n", "3", "s"]);
    const shown = gather(following.stdout);
    await until(() => shown.text().length > 0, "the last lines come");
    await exec("sh", "-c", "echo live-$((40+2)) >/dev/console");
    await until(() => shown.text().includes("live-42"), "what is printed now follows");
    await ok(["vm", "stop", "s"]);
    assert.equal((await following.status).code, 0, "it ends with the VM");
    await Promise.all([shown.done, following.stderr.cancel()]);
    assert.equal((await banger(["vm", "health", "s"])).code, 4);
    await ok(["vm", "restart", "s"]);
    assert.match(await exec("busybox", "uname", "-v"), new RegExp(` ${SECOND} `));
    const release = (await exec("busybox", "uname", "-r")).trim();
    const modules = `/lib/modules/${release}/kernel`;
    assert.equal(
      await exec("sh", "-c", `ls -d ${modules}/drivers/net; ls ${modules}/${LEFT_OUT_MODULES}; :`),
      `${modules}/drivers/net\n`,
    );
    assert.match(await ok(["vm", "show", "s"]), /Kernel: +second\n/);
    await refused(["kernel", "rm", "second"], 4, /used by s/);
    assert.equal(await exec("sh", "-c", "busybox nproc; echo $COLOUR; cat /root/file"), "2\nblue\nkept\n");
    assert.equal((await vm("s")).waitingForRestart, undefined);
  });

  await t.step("cp takes a tree in and brings it back byte for byte, names of any bytes too", async () => {
    const here = await Deno.makeTempDir();
    const sh = async (script: string) => {
      const { code, stdout, stderr } = await new Deno.Command("bash", { args: ["-ec", script], cwd: here })
        .output();
      assert.equal(code, 0, new TextDecoder().decode(stderr));
      return new TextDecoder().decode(stdout);
    };
    await sh(
      `mkdir -p tree/sub/empty; printf x >"tree/$(printf 'bad-\\xff')"; printf y >$'tree/new\\nline'; chmod 640 tree/new*
      ln -s sub tree/link; ln tree/new* tree/hard; head -c 20000000 /dev/urandom >tree/sub/large`,
    );
    await ok(["vm", "cp", `${here}/tree`, "s:/root/"]);
    assert.equal(
      await exec("sh", "-c", "cd /root/tree; sha256sum sub/large; busybox readlink link"),
      await sh("cd tree; sha256sum sub/large; readlink link"),
    );
    assert.equal(await exec("stat", "-c", "%a %u %h", "/root/tree/hard"), "640 0 2\n");
    const copied = await banger(["cp", "s:tree", `${here}/back`]);
    assert.equal(copied.code, 0, copied.stderr);
    assert.match(copied.stderr, /copied 19\.1 MiB/);
    await sh("diff -r --no-dereference tree back; [ $(stat -c %h back/hard) = 2 ]; [ -d back/sub/empty ]");
    await ok(["vm", "cp", "-q", `${here}/tree/sub/large`, "s:/root/tree/hard"]);
    assert.equal((await exec("stat", "-c", "%s %h", "/root/tree/hard")).trim(), "20000000 1");
    await Deno.remove(here, { recursive: true });
  });

  await t.step("two large copies at once come whole, one of them through the window", async () => {
    const here = await Deno.makeTempDir();
    const names = ["one", "two"];
    for (const name of names) {
      const bytes = new Uint8Array(12_000_000 + name.length);
      for (let at = 0; at < bytes.length; at += 65536) crypto.getRandomValues(bytes.subarray(at, at + 65536));
      await Deno.writeFile(`${here}/${name}`, bytes);
    }
    const disk = `${STATE}/vms/${(await vm("s")).id}/config.tar`;
    const { size } = await Deno.stat(disk);
    await Promise.all(names.map((name) => ok(["vm", "cp", "-q", `${here}/${name}`, "s:/root/"])));
    const sums = await new Deno.Command("sha256sum", { args: names, cwd: here }).output();
    assert.equal(
      await exec("sh", "-c", "cd /root; sha256sum one two; rm one two; ls -A | busybox grep banger-cp; :"),
      new TextDecoder().decode(sums.stdout),
    );
    const after = await Deno.stat(disk);
    assert.equal(after.size, size);
    assert.ok((after.blocks ?? 0) * 512 > 1_000_000, "the window was written to");
    assert.equal((await vm("s")).state, "running");
    await Deno.remove(here, { recursive: true });
  });

  await t.step("cp speaks tar on standard streams, as the user that is asked for", async () => {
    const piped = await banger(["vm", "cp", "s:/etc/.", "-"]);
    assert.match(piped.stdout, /root:x:0:0:root/);
    await exec("mkdir", "-m", "777", "/tmp/in");
    const args = ["-C", new URL(".", import.meta.url).pathname, "-cf", "-", "fixture.ts"];
    const tar = await new Deno.Command("tar", { args }).output();
    await ok(["vm", "cp", "--user", "user", "-", "s:/tmp/in"], { stdin: tar.stdout });
    assert.equal(await exec("stat", "-c", "%u", "/tmp/in/fixture.ts"), "1000\n");
  });

  await t.step("cp refuses what is not there, what is in the way, and ways out of the target", async () => {
    const here = await Deno.makeTempDir();
    await refused(["vm", "cp", "s:/nowhere", here], 3, /"s:\/nowhere": there is no such file/);
    await refused(["vm", "cp", `${here}/nowhere`, "s:/root"], 3, /there is no such file/);
    await refused(["vm", "cp", here, "s:/no/such/place"], 3, /there is no such directory/);
    await refused(["vm", "cp", here, "s:/etc/passwd"], 4, /a file is there, and a directory comes/);
    await refused(["vm", "cp", "a", "b"], 2, /neither end is in a VM/);
    await exec("sh", "-c", `mkdir /root/evil; ln -s ${here} /root/evil/out`);
    await ok(["vm", "cp", "s:evil", `${here}/target`]);
    await exec("sh", "-c", "rm /root/evil/out; mkdir /root/evil/out; echo x >/root/evil/out/planted");
    await refused(["vm", "cp", "s:evil/.", `${here}/target`], 4, /out/);
    assert.deepEqual([...Deno.readDirSync(here)].map(({ name }) => name), ["target"]);
    await Deno.remove(here, { recursive: true });
  });

  await t.step("kill cuts the power at once, also of one that is being started", async () => {
    await refused(["vm", "rm", "s"], 4, /it is running/);
    await ok(["vm", "kill", "s"]);
    assert.match(await ok(["vm", "show", "s"]), /State: +stopped[\s\S]*Last end: +power cut on request/);
    await refused(["vm", "kill", "s"], 4, /it is stopped/);
    const starting = start(["vm", "start", "s"]);
    const said = gather(starting.stderr);
    await until(async () => (await vm("s")).state === "starting", "it starts");
    await ok(["vm", "kill", "s"]);
    assert.equal((await starting.status).code, 130, said.text());
    await Promise.all([said.done, starting.stdout.cancel()]);
    assert.match(said.text(), /the VM was killed/);
    assert.equal((await vm("s")).state, "stopped");
    assert.deepEqual(await machineProcesses(), []);
  });

  await t.step("an operation is listed, followed by others, and cancelled by anyone", async () => {
    const starting = start(["vm", "start", "s"]);
    const said = gather(starting.stderr);
    let id = "";
    await until(async () => {
      id = /^([0-9a-f]{8}) +vm start +running/m.exec(await ok(["operation", "list"]))?.[1] ?? "";
      return id !== "";
    }, "it is listed");
    const following = start(["operation", "follow", id]);
    const followed = gather(following.stderr);
    await until(() => followed.text().includes("starting"), "a follower sees what was before");
    await ok(["operation", "cancel", id]);
    const codes = await Promise.all([starting.status, following.status]);
    assert.deepEqual(codes.map(({ code }) => code), [130, 130], said.text());
    await Promise.all([said.done, followed.done, starting.stdout.cancel(), following.stdout.cancel()]);
    assert.equal((await vm("s")).state, "stopped");
    assert.match(await ok(["operation", "list", "--all"]), new RegExp(`^${id} +vm start +cancelled`, "m"));
    await refused(["operation", "follow", "ffffffff"], 3, /Cannot find operation/);
  });

  await t.step("a disk grows while the VM is off, and the next start fills it", async () => {
    await ok(["vm", "set", "s", "--disk", "1G"]);
    assert.equal((await Deno.stat(`${STATE}/vms/${(await vm("s")).id as string}/work.raw`)).size, 2 ** 30);
    await ok(["vm", "start", "s"]);
    const sizeKib = async () => Number(/\n\S+ +(\d+)/.exec(await exec("busybox", "df", "-k", "/root"))![1]);
    await until(async () => await sizeKib() > 900_000, "the file system follows");
    assert.equal(await exec("cat", "/root/file"), "kept\n");
  });

  await t.step("rm --force of a running VM puts even that into the trash", async () => {
    await ok(["vm", "rm", "--force", "s"]);
    assert.deepEqual(await machineProcesses(), []);
    assert.equal(await ok(["vm", "restore", "s"]), "s\n");
    assert.ok((await vmNames()).includes("s"));
  });
});

Deno.test("of ten first commands one starts the daemon, and none another one after it was stopped", async () => {
  await using home = await otherHome();
  const env = { HOME: home.HOME };
  const first = await Promise.all(Array.from({ length: 10 }, () => banger(["ps"], { env })));
  assert.deepEqual(first.map(({ code, stderr }) => `${code}${stderr}`), first.map(() => "0"));
  const log = await Deno.readTextFile(`${home.HOME}/.local/state/banger/daemon.log`);
  assert.ok(!log.includes("another daemon runs already"), "none was started in vain");
  await ok(["daemon", "stop"], { env });
  for (let look = 0; look < 5; look++) {
    assert.equal((await banger(["daemon", "status"], { env })).code, 1, "and none comes back");
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
});

Deno.test("nothing is left of these scenarios", async () => {
  await removeSmallImage();
  await ok(["kernel", "rm", "second"]);
  await Deno.remove(`${HOME}/second-kernel`, { recursive: true });
  assert.ok(!(await ok(["image", "list"])).includes("surface"));
});
