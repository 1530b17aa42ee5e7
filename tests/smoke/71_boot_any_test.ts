/**
 * From Debian's own docker-registry to machines: images that no virtual machine was ever meant to boot, without
 * init, glibc, shell, ssh server or all of them. Each is pulled, compared with what umoci unpacks, booted, used
 * and stopped.
 */
import assert from "node:assert/strict";
import { assertHolds } from "../host/oci/bangers_own.ts";
import { listDirectory, type Listing } from "../host/oci/listing.ts";
import { makeLayeredImage, makeMuslImage, makeScratchImage } from "./boot_images.ts";
import { stopCleanly as stopAndLook } from "./clean_stop.ts";
import { banger, ok, refused, removing, STATE, until, vm } from "./fixture.ts";
import { guestObserver } from "./guest_observer.ts";
import { pullAndCompare, removingImage } from "./pulled_images.ts";
import {
  BIG_FILE,
  BIG_FILE_PIECES,
  makeDebianImage,
  makeDebianTar,
  MANY_FILES,
  openWorkshop,
  type Workshop,
} from "./registry_images.ts";

const LEAN = ["--cpus", "1", "--memory", "512M", "--quiet"];

async function imageShow(name: string): Promise<Record<string, unknown>> {
  return JSON.parse(await ok(["image", "show", name, "--json"])) as Record<string, unknown>;
}

const stopCleanly = (name: string, directory: string) => stopAndLook(ok, STATE, name, directory);

/** As a user may who wants more room: banger has no part in it. */
async function enlargeRoot(name: string, by: string): Promise<void> {
  const { id, rootDisk } = await vm(name);
  const [format, file] = rootDisk === "qcow2" ? ["qcow2", "root.qcow2"] : ["raw", "root.raw"];
  const args = ["resize", "-f", format!, `${STATE}/vms/${id}/${file}`, by];
  const { code, stderr } = await new Deno.Command("qemu-img", { args }).output();
  assert.equal(code, 0, new TextDecoder().decode(stderr));
}

/** Of an index over two platforms, one layer, without init and glibc. */
async function pullMusl(workshop: Workshop): Promise<void> {
  const reference = await makeMuslImage(workshop);
  await pullAndCompare(workshop, "amd64", reference, "any-musl");
  const { init, libc, hasSshServer, command, platform } = await imageShow("any-musl");
  assert.deepEqual({ init, libc, hasSshServer, command, platform }, {
    init: "none",
    libc: "musl",
    hasSshServer: false,
    command: [],
    platform: "linux/amd64",
  });
  await using _arm = removingImage("any-arm");
  await ok(["image", "pull", "--quiet", reference, "--platform", "linux/arm64", "--name", "any-arm"]);
  await refused(["vm", "create", "--no-start", "--image", "any-arm"], 5, /it is for linux\/arm64/);
  await refused(["image", "pull", reference, "--platform", "linux/s390x"], 3, /no image for linux\/s390x/);
}

async function muslMachine(t: Deno.TestContext, workshop: Workshop): Promise<void> {
  await using _image = removingImage("any-musl");
  await t.step("pull", () => pullMusl(workshop));
  await using _vm = removing("any-musl");
  await ok(["vm", "create", "--name", "any-musl", "--image", "any-musl", ...LEAN]);
  const sh = (script: string, ...flags: string[]) =>
    banger(["vm", "exec", "any-musl", ...flags, "--", "sh", "-c", script], { stdin: "in\n" });

  await t.step("stdin, stdout, stderr, exit code", async () => {
    const result = await sh("cat; echo err >&2; exit 7");
    assert.deepEqual(result, { code: 7, stdout: "in\n", stderr: "err\n" });
  });
  await t.step("the image's own C library runs", async () => {
    assert.match((await sh("/lib/ld-musl-x86_64.so.1")).stderr, /^musl libc \(x86_64\)\nVersion 1\./);
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
      await stopCleanly("any-musl", workshop.path);
      const sizeMib = async () =>
        Number((await sh("busybox df -m / | busybox awk 'END { print $2 }'")).stdout);
      await enlargeRoot("any-musl", "+512M");
      await ok(["vm", "start", "any-musl", "--quiet"]);
      assert.equal((await sh("cat /etc/kept")).stdout, "kept\n");
      await until(async () => await sizeMib() > 1400, "the root file system has grown");
      await stopCleanly("any-musl", workshop.path);
    },
  );
}

async function scratchMachine(t: Deno.TestContext, workshop: Workshop): Promise<void> {
  const reference = await makeScratchImage(workshop);
  await using _image = removingImage("any-scratch");
  await pullAndCompare(workshop, "scratch", reference, "any-scratch");
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
  await t.step("stop is clean", () => stopCleanly("any-scratch", workshop.path));
}

async function layeredMachine(workshop: Workshop): Promise<void> {
  const reference = await makeLayeredImage(workshop);
  await using _image = removingImage("any-init");
  await pullAndCompare(workshop, "layers", reference, "any-init");
  const { init, libc } = await imageShow("any-init");
  assert.deepEqual({ init, libc }, { init: "other", libc: "glibc" });
  await using _vm = removing("any-init");
  const script = "cat /proc/1/cmdline; echo; cat /lib64/ld-linux-x86-64.so.2; [ -d /run/own-init ] && cat; " +
    "ls /etc/gone 2>/dev/null; ls /opt/lower; cat /etc/back";
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
  assert.deepEqual(result, { code: 0, stdout: "/bin/sh\0/sbin/init\0\ntoo oldinupper\nback", stderr: "" });
  await stopCleanly("any-init", workshop.path);
}

/** Everything that the guest's kernel sees on the mounted disk is what umoci unpacks on this host. */
async function debianMachine(t: Deno.TestContext, workshop: Workshop, tar: Promise<string>): Promise<void> {
  const reference = await makeDebianImage(workshop, await tar);
  await using _image = removingImage("any-debian");
  const { expected } = await pullAndCompare(workshop, "debian", reference, "any-debian");
  const { init, libc } = await imageShow("any-debian");
  assert.deepEqual({ init, libc }, { init: "none", libc: "glibc" });
  await using _vm = removing("any-debian");
  await ok(["vm", "create", "--name", "any-debian", "--image", "any-debian", ...LEAN]);
  const sh = (script: string) => ok(["vm", "exec", "any-debian", "--", "sh", "-c", script]);

  await t.step("it is Debian", async () => {
    assert.match(await sh("cat /etc/debian_version; dpkg --status bash"), /^12\.[^]*\nStatus: install ok/);
  });
  await t.step(
    "the kernel reads back every name, kind, content, mode, owner, link, attribute and time",
    async () => {
      // Without what is mounted on it: the directories below are the image's.
      await sh(`mkdir ${MOUNTED} && /run/banger/bin/busybox mount --bind / ${MOUNTED}`);
      const not = ["usr/local/bin/banger-vsock-agent", BIG_FILE].flatMap((
        path,
      ) => ["-path", `${MOUNTED}/${path}`, "-o"]);
      const skip = ["(", ...not.slice(0, -1), ")", "-prune", "-o"];
      const listing = await listDirectory(MOUNTED, guestObserver("any-debian"), skip);
      assertHolds(withoutBoot(listing), withoutBoot(expected));
    },
  );
  await t.step("a file of 5 GiB and a hashed directory", async () => {
    for (const [at, text] of BIG_FILE_PIECES) {
      const read =
        `dd if=/${BIG_FILE} iflag=skip_bytes,count_bytes skip=${at} count=${text.length} status=none`;
      assert.equal(await sh(read), text);
    }
    assert.match(await sh(`stat -c '%s %b' /${BIG_FILE}`), /^5368709127 (8|16|24) *\n$/);
    assert.equal(await sh("ls /srv/many | wc -l"), `${MANY_FILES}\n`);
    assert.equal(
      await sh("rm /srv/many/one-of-many-1234; echo > /srv/many/new; ls /srv/many | wc -l"),
      `${MANY_FILES}\n`,
    );
  });
  await t.step("stop is clean", () => stopCleanly("any-debian", workshop.path));
}

/** Where the guest sees its own root directory a second time. */
const MOUNTED = "/run/root";
/** What is written at each boot, and the directories that it is written to. */
const OF_THIS_BOOT =
  /^(lost\+found|usr\/lib(\/modules.*)?|etc(\/(hostname|hosts|resolv\.conf|inittab|ssh.*|profile\.d(\/banger\.sh)?))?)$/;

function withoutBoot(listing: Listing): Listing {
  return Object.fromEntries(Object.entries(listing).filter(([path]) => !OF_THIS_BOOT.test(path)));
}

Deno.test("images of a registry are what umoci unpacks, boot, run commands and end cleanly", async (t) => {
  await using workshop = await openWorkshop();
  // Most of a minute on a busy host: it goes on beside the first machines.
  const tar = makeDebianTar(workshop.path);
  tar.catch(() => {}); // its step tells
  await t.step("musl and busybox, of an index", (t) => muslMachine(t, workshop));
  await t.step("FROM scratch, one static program", (t) => scratchMachine(t, workshop));
  await t.step(
    "layers with whiteouts, an init of its own kind, half an old glibc",
    () => layeredMachine(workshop),
  );
  await t.step("Debian's essential packages, in layers", (t) => debianMachine(t, workshop, tar));
  // Nothing of it outlives the workshop, whichever step failed.
  await Promise.allSettled([tar]);
});
