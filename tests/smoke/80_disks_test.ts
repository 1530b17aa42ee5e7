/** Disks: which kinds there are, a host disk that fills, files of the host, another image below the same /root. */
import assert from "node:assert/strict";
import { type SmallDisk, smallDisk } from "../host/vmm/small_disk.ts";
import { assertCleanFilesystem } from "./clean_stop.ts";
import { banger, HOME, killDaemon, ok, refused, removing, start, STATE, until, vm } from "./fixture.ts";
import { temporaryDirectory } from "../host/guest_files/tools.ts";
import { removingImage } from "./pulled_images.ts";
import { applets, BUSYBOX, makeTar } from "./small_images.ts";

const LEAN = ["--cpus", "1", "--memory", "256M", "--quiet"];
const NO_SPACE = 8;
const CONFIG = `${HOME}/.config/banger/config.toml`;

/** Two images of a busybox, each with a file that tells them apart and with something in its /root. */
async function makeImages(directory: string): Promise<void> {
  for (const name of ["small-one", "small-two"]) {
    const tree = {
      "bin/busybox": BUSYBOX,
      ...applets("sh", "cat", "ls", "dd", "stat", "sync", "echo", "readlink"),
      "etc/which": name,
      [`root/seed-of-${name}`]: "seed",
    } as const;
    await ok(["image", "pull", `tar:${await makeTar(directory, name, tree)}`, "--name", name, "--quiet"]);
  }
}

/** The user's configuration, for as long as a scenario lasts. */
async function configuration(text: string): Promise<AsyncDisposable> {
  await Deno.mkdir(`${HOME}/.config/banger`, { recursive: true });
  await Deno.writeTextFile(CONFIG, text);
  return { [Symbol.asyncDispose]: () => Deno.remove(CONFIG) };
}

async function inside(name: string, command: string): Promise<string> {
  return await ok(["vm", "exec", name, "--", "sh", "-c", command]);
}

/** Moves the directory of a VM that does not run to a small disk. */
async function moveTo({ path }: SmallDisk, directory: string): Promise<void> {
  const move = `cp -a --sparse=always "${directory}/." "${path}/" && rm -r "${directory}"`;
  const { code, stderr } = await new Deno.Command("sh", { args: ["-c", move] }).output();
  assert.equal(code, 0, new TextDecoder().decode(stderr));
  await Deno.symlink(path, directory);
}

Deno.test("root disks of each kind that this host has are made; the others are refused with a reason", async () => {
  await using workshop = await temporaryDirectory();
  await using _one = removingImage("small-one");
  await using _two = removingImage("small-two");
  await makeImages(workshop.path);
  await using _vm = removing("kinds");
  const hasReflinks =
    (await banger(["vm", "create", "--no-start", "--name", "kinds", "--root-disk", "reflink"]))
      .code === 0;
  if (hasReflinks) await ok(["vm", "rm", "--purge", "--quiet", "kinds"]);
  else {await refused(
      ["vm", "create", "--no-start", "--name", "kinds", "--root-disk", "reflink"],
      5,
      /share blocks/,
    );}
  if (!(await Deno.stat("/dev/mapper/control").catch(() => undefined))) {
    await refused(
      ["vm", "create", "--no-start", "--name", "kinds", "--root-disk", "dm-snapshot"],
      5,
      /no device mapper/,
    );
  }
  for (const [mode, magic] of [["qcow2", "QFI"], ["copy", "\0\0\0"]] as const) {
    await ok([
      ...["vm", "create", "--no-start", "--name", "kinds", "--image", "small-one", "--root-disk", mode],
      ...LEAN,
    ]);
    const shown = await vm("kinds") as { id: string; rootDisk: string; rootDiskReason: string };
    assert.equal(shown.rootDisk, mode);
    assert.equal(shown.rootDiskReason, "it was asked for");
    const file = `${STATE}/vms/${shown.id}/root.${mode === "qcow2" ? "qcow2" : "raw"}`;
    assert.equal(new TextDecoder().decode((await Deno.readFile(file)).subarray(0, 3)), magic);
    await ok(["vm", "rm", "--purge", "--quiet", "kinds"]);
  }
  await ok(["vm", "create", "--no-start", "--name", "kinds", "--image", "small-one", ...LEAN]);
  assert.match(await ok(["vm", "show", "kinds"]), /Root disk:\s+(reflink|qcow2) \(the host's filesystem/);
  await refused(
    ["vm", "create", "--no-start", "--name", "fc", "--image", "small-one", "--vmm", "firecracker"],
    5,
    /Firecracker/,
  );
});

Deno.test({
  name:
    "a host disk that fills stops a VM until there is room; its files, /root and image change around that",
  ignore: !mayMount(),
  fn: async () => {
    await using workshop = await temporaryDirectory();
    const directory = workshop.path;
    await using _one = removingImage("small-one");
    await using _two = removingImage("small-two");
    await makeImages(directory);
    await Deno.mkdir(`${directory}/tool`);
    await Deno.writeTextFile(`${directory}/tool/key`, "secret");
    await Deno.chmod(`${directory}/tool/key`, 0o600);
    await Deno.symlink("/etc/passwd", `${directory}/tool/link`);
    await using _config = await configuration(`
[disks]
reserve = "32M"

[[file_sync]]
host = "${directory}/tool"
guest = "~/.config/tool"
`);
    await using disk = await smallDisk(`${directory}/disk`, 30);
    await using _vm = removing("full");
    await ok([
      "vm",
      "create",
      "--no-start",
      "--name",
      "full",
      "--image",
      "small-one",
      "--disk",
      "400M",
      ...LEAN,
    ]);
    const { id } = await vm("full") as { id: string };
    const files = `${STATE}/vms/${id}`;
    await moveTo(disk, files);
    await refused(["vm", "start", "full"], NO_SPACE, /32 MiB is the least/);
    await disk.resize(120);
    assert.match((await banger(["vm", "start", "full"])).stderr, /leaves out .*link: it is a symlink/);
    assert.equal(await inside("full", "cat /etc/which /root/.config/tool/key"), "small-onesecret");
    assert.equal(await inside("full", "stat -c %a:%u:%g /root/.config/tool/key"), "600:0:0\n");
    assert.equal(await inside("full", "stat -c %a:%u:%g /root"), "755:0:0\n");
    await fillAndGoOn(disk);
    await ok(["vm", "stop", "full"]);
    assert.equal((await vm("full")).lastExit, "shut down");
    await assertCleanFilesystem(`${files}/work.raw`);
    await changeImageAndBack();
  },
});

/** The VM's disks lie on `disk`, which is too small for what it writes. */
async function fillAndGoOn(disk: SmallDisk): Promise<void> {
  const writing = start([
    ...["vm", "exec", "full", "--", "sh", "-c"],
    "dd if=/dev/urandom of=/root/big bs=1M count=200 conv=fsync && sync && echo written",
  ]);
  await until(async () => (await vm("full")).paused !== undefined, "the full disk is noticed");
  assert.match(await ok(["vm", "list"]), /full\s+running \(paused: host disk\)/);
  assert.match(await ok(["vm", "show", "full"]), /Paused:\s+the host's disk is full/);
  await refused(
    ["vm", "exec", "full", "--", "true"],
    NO_SPACE,
    /stands still, since the host's disk is full/,
  );
  await refused(["vm", "stop", "full"], NO_SPACE, /stands still[\s\S]*vm stop --force full/);
  await killDaemon();
  await until(async () => (await vm("full")).paused !== undefined, "another daemon notices, too");
  await disk.resize(600);
  await until(async () => (await vm("full")).paused === undefined, "it goes on");
  const [status, stdout] = await Promise.all([writing.status, new Response(writing.stdout).text()]);
  assert.equal(status.code, 0, await new Response(writing.stderr).text());
  assert.equal(stdout, "written\n");
  await writing.stderr.cancel().catch(() => {}); // read already where it failed
  assert.equal(await inside("full", "stat -c %s /root/big"), `${200 * 1024 * 1024}\n`);
}

/** A stopped VM of small-one with a big file in /root. */
async function changeImageAndBack(): Promise<void> {
  const change = await banger(["vm", "set", "full", "--image", "small-two"]);
  assert.equal(change.code, 0, change.stderr);
  assert.match(change.stderr, /\/root is as it was[\s\S]*--undo-image/);
  await refused(["image", "rm", "small-one"], 4, /uses? it|used by/);
  await ok(["vm", "start", "full", "--quiet"]);
  assert.equal(
    await inside("full", "cat /etc/which; ls /root"),
    "small-twobig\nlost+found\nseed-of-small-one\n",
  );
  await refused(["vm", "set", "full", "--undo-image"], 4, /it is running/);
  await inside("full", "echo x > /etc/only-here; sync");
  await ok(["vm", "stop", "full"]);
  await ok(["vm", "set", "full", "--undo-image", "--quiet"]);
  await ok(["vm", "start", "full", "--quiet"]);
  assert.equal(
    await inside("full", "cat /etc/which; ls /etc/only-here /root 2>/dev/null || true"),
    [
      "small-one/root:",
      "big",
      "lost+found",
      "seed-of-small-one",
      "",
    ].join("\n"),
  );
}

function mayMount(): boolean {
  if (Deno.uid() === 0) return true;
  console.log("skipped below: only root may mount a small disk");
  return false;
}
