/** Images that no virtual machine was ever meant to boot: without init, glibc, shell, ssh server or all of them. */
import assert from "node:assert/strict";
import { assertCleanFilesystem, banger, ok, refused, removing, STATE, until, vm } from "./fixture.ts";
import { BUSYBOX, makeLayout, makeTar, type Tree } from "./small_images.ts";

const LEAN = ["--cpus", "1", "--memory", "512M", "--quiet"];

function applets(...names: string[]): Tree {
  return Object.fromEntries(names.map((name) => [`bin/${name}`, { link: "busybox" }]));
}

async function imageShow(name: string): Promise<Record<string, unknown>> {
  return JSON.parse(await ok(["image", "show", name, "--json"])) as Record<string, unknown>;
}

/** Stops it as a user would: the guest's own clean end, and a disk that e2fsck finds nothing wrong with. */
async function stopCleanly(name: string, directory: string): Promise<void> {
  await ok(["vm", "stop", name]);
  const { id, lastExit, rootDisk } = await vm(name);
  assert.equal(lastExit, "shut down");
  const disks = `${STATE}/vms/${id}`;
  await assertCleanFilesystem(`${disks}/work.raw`);
  if (rootDisk !== "qcow2") return await assertCleanFilesystem(`${disks}/root.raw`);
  const flat = `${directory}/${name}.raw`;
  const args = ["convert", "-f", "qcow2", "-O", "raw", `${disks}/root.qcow2`, flat];
  const { code, stderr } = await new Deno.Command("qemu-img", { args }).output();
  assert.equal(code, 0, new TextDecoder().decode(stderr));
  await assertCleanFilesystem(flat);
}

/** As a user may who wants more room: banger has no part in it. */
async function enlargeRoot(name: string, by: string): Promise<void> {
  const { id, rootDisk } = await vm(name);
  const [format, file] = rootDisk === "qcow2" ? ["qcow2", "root.qcow2"] : ["raw", "root.raw"];
  const args = ["resize", "-f", format!, `${STATE}/vms/${id}/${file}`, by];
  const { code, stderr } = await new Deno.Command("qemu-img", { args }).output();
  assert.equal(code, 0, new TextDecoder().decode(stderr));
}

function removingImage(name: string): AsyncDisposable {
  return {
    async [Symbol.asyncDispose]() {
      await banger(["image", "rm", name]);
    },
  };
}

async function temporaryDirectory(): Promise<{ path: string } & AsyncDisposable> {
  const path = await Deno.makeTempDir({ prefix: "banger-images-" });
  return { path, [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }) };
}

Deno.test("an image of musl and busybox, with no init, boots, runs commands and ends cleanly", async (t) => {
  await using directory = await temporaryDirectory();
  const tar = await makeTar(directory.path, "musl", {
    "bin/busybox": BUSYBOX,
    ...applets("sh", "cat", "id", "ls", "ip", "mount", "sleep", "env", "tty"),
    "lib/ld-musl-x86_64.so.1": "not for running: it only says what the image is",
    // musl's own libgcc has the same name as glibc's; loading this one would end the agent.
    "lib/libgcc_s.so.1": "not for loading",
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/srv/app:/sbin/nologin\n",
    "etc/group": "root:x:0:\napp:x:1000:\nextra:x:77:app\n",
    "srv/app/file": "its own\n",
  });
  await using _image = removingImage("any-musl");
  assert.equal(await ok(["image", "pull", "--quiet", "--name", "any-musl", `tar:${tar}`]), "any-musl\n");
  const { init, libc, hasSshServer, command } = await imageShow("any-musl");
  assert.deepEqual({ init, libc, hasSshServer, command }, {
    init: "none",
    libc: "musl",
    hasSshServer: false,
    command: [],
  });
  await using _vm = removing("any-musl");
  await ok(["vm", "create", "--name", "any-musl", "--image", "any-musl", ...LEAN]);
  const sh = (script: string, ...flags: string[]) =>
    banger(["vm", "exec", "any-musl", ...flags, "--", "sh", "-c", script], { stdin: "in\n" });

  await t.step("stdin, stdout, stderr, exit code", async () => {
    const result = await sh("cat; echo err >&2; exit 7");
    assert.deepEqual(result, { code: 7, stdout: "in\n", stderr: "err\n" });
  });
  await t.step("nothing of the agent's own C library reaches a command", async () => {
    assert.doesNotMatch((await sh("env")).stdout, /LD_|\/usr\/local\/lib\/banger/);
    assert.equal((await sh("ls /lib64")).code, 1);
  });
  await t.step("the work disk, the network and the host name are there", async () => {
    const { stdout } = await sh("mount; ip addr; cat /etc/resolv.conf /etc/hosts");
    assert.match(stdout, /\/dev\/vdb on \/root type ext4/);
    assert.match(stdout, /inet 10\.0\.2\.15\/24/);
    assert.match(stdout, /nameserver 10\.0\.2\.3\n/);
    assert.match(stdout, /any-musl\.vm/);
  });
  await t.step("another user: by name, by number, with its groups, its home and a terminal", async () => {
    assert.deepEqual((await sh("id; pwd; cat file", "--user", "app")).stdout.split("\n"), [
      "uid=1000(app) gid=1000(app) groups=77(extra)",
      "/srv/app",
      "its own",
      "",
    ]);
    assert.equal((await sh("id", "-u", "4000:4001")).stdout, "uid=4000 gid=4001\n");
    // A terminal may echo what is typed before its output.
    assert.match((await sh("tty >/dev/tty", "-u", "app", "-t")).stdout, /(^|\n)\/dev\/pts\/\d+\r\n/);
    await refused(["vm", "exec", "any-musl", "--user", "nobody", "--", "id"], 125, /"nobody".*\/etc\/passwd/);
  });
  await t.step("vm ssh goes through the agent where no ssh server is, as root", async () => {
    assert.equal(await ok(["vm", "ssh", "any-musl", "--", "id -u; echo $HOME"]), "0\n/root\n");
    assert.match(await ok(["vm", "ssh", "any-musl"], { stdin: "echo login shell; exit\n" }), /login shell/);
  });
  await t.step("the agent comes back where it ends", async () => {
    const agentPid = async () => Number((await sh("busybox pidof agent")).stdout);
    const before = await agentPid();
    assert.ok(before > 1);
    await sh(`busybox kill ${before}`);
    assert.notEqual(await agentPid(), before);
  });
  await t.step(
    "stop is clean; what was written is there after a start, on a disk made larger too",
    async () => {
      await sh("echo kept >/etc/kept");
      await stopCleanly("any-musl", directory.path);
      const sizeMib = async () =>
        Number((await sh("busybox df -m / | busybox awk 'END { print $2 }'")).stdout);
      await enlargeRoot("any-musl", "+512M");
      await ok(["vm", "start", "any-musl", "--quiet"]);
      assert.equal((await sh("cat /etc/kept")).stdout, "kept\n");
      await until(async () => await sizeMib() > 1400, "the root file system has grown");
      await stopCleanly("any-musl", directory.path);
    },
  );
});

Deno.test("a FROM scratch image of one static program runs it, as its configuration says", async (t) => {
  await using directory = await temporaryDirectory();
  // busybox under the name of one of its programs is that program and nothing else.
  const layout = await makeLayout(directory.path, "scratch", { "printf": BUSYBOX, "app/data": "1\n" }, {
    User: "65532:65531",
    Env: ["PATH=/nowhere", "GREETING=hi"],
    WorkingDir: "/app",
    Entrypoint: ["/printf", "%s|"],
    Cmd: ["from", "scratch 1"],
  });
  await using _image = removingImage("any-scratch");
  await ok(["image", "pull", "--quiet", "--name", "any-scratch", `oci:${layout}`]);
  const { init, libc, command, user } = await imageShow("any-scratch");
  assert.deepEqual({ init, libc, command, user }, {
    init: "none",
    libc: "none",
    command: ["/printf", "%s|", "from", "scratch 1"],
    user: "65532:65531",
  });
  await using _vm = removing("any-scratch");

  await t.step("vm run without a command or a terminal runs the image's own", async () => {
    const result = await banger(["vm", "run", "--name", "any-scratch", "--image", "any-scratch", ...LEAN]);
    assert.deepEqual(result, { code: 0, stdout: "from|scratch 1|", stderr: "" });
  });
  await t.step("vm exec runs the program, and says what is not there", async () => {
    assert.equal(await ok(["vm", "exec", "any-scratch", "--", "/printf", "%s", "x y"]), "x y");
    await refused(["vm", "exec", "any-scratch", "--", "ls"], 127, /no directory of PATH has it/);
    await refused(["vm", "exec", "any-scratch", "--", "/bin/ls"], 127, /it does not exist/);
  });
  await t.step("user, directory and environment are the image's; banger's shell stands in", async () => {
    const script = "id -u; id -g; pwd; echo $GREETING";
    assert.equal(
      await ok(["vm", "exec", "any-scratch", "--", "sh", "-c", script]),
      "65532\n65531\n/app\nhi\n",
    );
    assert.equal(
      await ok(["vm", "exec", "any-scratch", "-u", "root", "-w", "/", "--", "/bin/sh", "-c", "id -u; pwd"]),
      "0\n/\n",
    );
    assert.match(
      await ok(["vm", "ssh", "any-scratch"], { stdin: "echo login shell; id -u; exit\n" }),
      /login shell\n0\n/,
    );
  });
  await t.step("stop is clean", () => stopCleanly("any-scratch", directory.path));
});

Deno.test("an image with an init of its own kind and half an old glibc boots that init", async () => {
  await using directory = await temporaryDirectory();
  const tar = await makeTar(directory.path, "own", {
    "bin/busybox": BUSYBOX,
    ...applets("sh", "sleep", "mkdir", "mount", "poweroff", "sync", "cat"),
    // Nothing of this would run: banger must not use it, nor replace it.
    "lib64/ld-linux-x86-64.so.2": "too old",
    "lib64/libc.so.6": { link: "libc-2.19.so" },
    "lib64/libc-2.19.so": "too old",
    "sbin/init": "#!/bin/sh\n" +
      "trap 'sync; mount -o remount,ro /; poweroff -f' USR1 USR2 TERM\n" +
      "mkdir -p /run/own-init\n" +
      "while :; do sleep 1 & wait; done\n",
  });
  await using _image = removingImage("any-init");
  await ok(["image", "pull", "--quiet", "--name", "any-init", `tar:${tar}`]);
  const { init, libc } = await imageShow("any-init");
  assert.deepEqual({ init, libc }, { init: "other", libc: "glibc" });
  await using _vm = removing("any-init");
  const script = "cat /proc/1/cmdline; echo; cat /lib64/ld-linux-x86-64.so.2; [ -d /run/own-init ] && cat";
  const result = await banger([
    "vm",
    "run",
    "--name",
    "any-init",
    "--image",
    "any-init",
    ...LEAN,
    "--",
    "sh",
    "-c",
    script,
  ], {
    stdin: "in",
  });
  assert.deepEqual(result, { code: 0, stdout: "/bin/sh\0/sbin/init\0\ntoo oldin", stderr: "" });
  await stopCleanly("any-init", directory.path);
});
