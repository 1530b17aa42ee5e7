/** Configuration and trash, with machines that are made and never started. */
import assert from "node:assert/strict";
import { banger, HOME, ok, refused, removing, STATE, until, vm, vmNames } from "./fixture.ts";
import { removeSmallImage, smallImage } from "./small_vm.ts";

const CONFIG = `${HOME}/.config/banger/config.toml`;

/** The suite's configuration as the scenario wants it; gone afterwards. */
async function configured(text: string): Promise<AsyncDisposable> {
  await Deno.mkdir(`${HOME}/.config/banger`, { recursive: true });
  await Deno.writeTextFile(CONFIG, text);
  return { [Symbol.asyncDispose]: () => Deno.remove(CONFIG) };
}

async function made(name: string, ...flags: string[]): Promise<AsyncDisposable> {
  await ok(["vm", "create", "--no-start", "--name", name, "--image", await smallImage(), ...flags]);
  return removing(name);
}

async function removedNames(): Promise<string[]> {
  const all = JSON.parse(await ok(["vm", "list", "--removed", "--json"])) as { name: string }[];
  return all.map(({ name }) => name).sort();
}

Deno.test("banger config works without a file and without the daemon", async () => {
  await ok(["daemon", "stop"]).catch(() => {});
  assert.equal(await ok(["config", "path"]), `${CONFIG}\n`);
  assert.match(await ok(["config", "check"]), /no such file, so nothing is wrong/);
  assert.match(await ok(["config", "show"]), /^cpus = 2 {2}# built in$/m);
  assert.equal((await banger(["daemon", "status"])).code, 1, "nothing started it");
});

Deno.test("a wrong configuration is told by line and key, and nothing is made with it", async () => {
  await using _file = await configured('[defaults]\nmemory = "1G"\ncpu = 3\n\n[trash]\nkeep = 7\n');
  const checked = await banger(["config", "check"]);
  assert.equal(checked.code, 2);
  assert.match(
    checked.stderr,
    /line 3: defaults\.cpu: there is no such key\n {2}\[defaults\] knows: image, kernel, cpus/,
  );
  assert.match(checked.stderr, /line 6: trash\.keep: expected string, received number/);
  await refused(
    ["config", "show"],
    2,
    /line 3: defaults\.cpu[\s\S]*There is more \(1\): banger config check/,
  );
  await refused(["vm", "create", "--no-start", "--name", "never"], 2, /config\.toml: line 3: defaults\.cpu/);
  assert.ok(!(await vmNames()).includes("never"));
});

Deno.test("the configuration's defaults are a new VM's, and flags win", async () => {
  const image = await smallImage();
  await using _file = await configured(
    `[defaults]\nimage = "${image}"\ncpus = 1\nmemory = "256M"\ndisk = "1G"\nnetwork = "none"\n[defaults.environment]\nA = "1"\n`,
  );
  assert.match(await ok(["config", "show"]), /^memory = "256M" {2}# line 4$/m);
  await using _c1 = removing("c1");
  await ok(["vm", "create", "--no-start", "--name", "c1"]);
  await using _c2 = removing("c2");
  await ok([
    "vm",
    "create",
    "--no-start",
    "--name",
    "c2",
    "-c",
    "3",
    "-m",
    "512M",
    "--disk",
    "2G",
    "--network",
    "user",
  ]);
  const settings = async (name: string) => {
    const { cpus, memoryMib, workDiskBytes, network } = await vm(name);
    return { cpus, memoryMib, workDiskBytes, network };
  };
  assert.deepEqual(await settings("c1"), {
    cpus: 1,
    memoryMib: 256,
    workDiskBytes: 2 ** 30,
    network: "none",
  });
  assert.deepEqual(await settings("c2"), {
    cpus: 3,
    memoryMib: 512,
    workDiskBytes: 2 ** 31,
    network: "user",
  });
});

Deno.test("a removed VM lies in the trash with its disks and comes back as it was", async () => {
  await ok(["vm", "prune"]); // what other scenarios left
  await using _t1 = await made("t1", "--cpus", "3");
  const before = await vm("t1");
  const removed = await banger(["vm", "rm", "t1"]);
  assert.equal(removed.code, 0);
  assert.match(removed.stderr, /VM t1 is in the trash for 7 days; bring it back: banger vm restore t1/);
  assert.ok(!(await vmNames()).includes("t1"));
  assert.match(
    await ok(["vm", "list", "--removed"]),
    new RegExp(`^t1 +${before.id as string} .* 7 days$`, "m"),
  );
  await refused(["vm", "show", "t1"], 3, /It was removed; bring it back: banger vm restore t1/);
  await refused(["vm", "start", before.id as string], 4, /it is removed/);
  assert.equal(await ok(["vm", "restore", "t1"]), "t1\n");
  assert.deepEqual(await vm("t1"), before);
});

Deno.test("a removed VM's name is free, its image and kernel are not; it comes back under another name", async () => {
  await using _t2 = await made("t2");
  await ok(["vm", "rm", "-q", "t2"]);
  await using _again = await made("t2");
  await refused(["vm", "restore", "t2"], 4, /there is another VM t2 now[\s\S]*--name NAME/);
  await refused(["image", "rm", (await vm("t2")).image as string], 4, /use/);
  await using _t3 = removing("t3");
  assert.equal(await ok(["vm", "restore", "t2", "--name", "t3"]), "t3\n");
  await refused(["vm", "restore", "t2"], 3, /Cannot find a removed VM t2/);
});

Deno.test("vm prune says what it would remove, removes what is named, then all", async () => {
  for (const name of ["p1", "p2", "p3"]) {
    await made(name);
    await ok(["vm", "rm", "-q", name]);
  }
  assert.deepEqual(await removedNames(), ["p1", "p2", "p3"]);
  const ids = (await ok(["vm", "list", "--removed", "-q"])).trim().split("\n");
  assert.match(await ok(["vm", "prune", "--dry-run"]), /^p1 +[0-9a-f]{12} /m);
  assert.equal(await ok(["vm", "prune", "--older-than", "1h"]), "");
  assert.deepEqual(await removedNames(), ["p1", "p2", "p3"]);
  await ok(["vm", "prune", "p2"]);
  assert.deepEqual(await removedNames(), ["p1", "p3"]);
  await ok(["vm", "prune"]);
  assert.deepEqual(await removedNames(), []);
  for (const id of ids) await assert.rejects(Deno.stat(`${STATE}/vms/${id}`));
});

Deno.test("several VMs are removed at once; one that is not there does not keep the others", async () => {
  await made("m1");
  await made("m2");
  await refused(["vm", "rm", "--purge", "m1", "nobody", "m2"], 3, /Cannot find VM nobody/);
  assert.deepEqual((await vmNames()).filter((name) => name.startsWith("m")), []);
  assert.deepEqual(await removedNames(), []);
});

Deno.test("the daemon empties the trash in time, and with keep = 0 there is none", async () => {
  {
    await using _file = await configured('[trash]\nkeep = "1s"\n');
    await made("short");
    await ok(["vm", "rm", "-q", "short"]);
    await ok(["daemon", "stop"]);
    await new Promise((resolve) => setTimeout(resolve, 1000));
    await until(async () => (await removedNames()).length === 0, "a daemon that starts empties the trash");
  }
  await using _file = await configured('[trash]\nkeep = "0"\n');
  await made("none");
  const { id } = await vm("none");
  await ok(["vm", "rm", "-q", "none"]);
  assert.deepEqual(await removedNames(), []);
  await assert.rejects(Deno.stat(`${STATE}/vms/${id as string}`));
});

Deno.test("Tab offers VMs, images and kernels where the daemon runs, and starts none", async () => {
  await using _tab = await made("tab-one");
  const offered = async (...words: string[]) =>
    (await ok(["__complete", "--", ...words])).split("\n").filter(Boolean).map((line) => line.split("\t")[0]);
  assert.deepEqual(await offered("vm", "start", "tab"), ["tab-one"]);
  assert.deepEqual(await offered("kernel", "show", "deb"), ["debian"]);
  assert.ok((await offered("vm", "create", "--image", "surf")).includes("surface"));
  assert.deepEqual(await offered("vm", "cp", "tab"), ["tab-one:", ":files"]);
  await ok(["daemon", "stop"]);
  assert.deepEqual(await offered("vm", "start", "tab"), []);
  assert.equal((await banger(["daemon", "status"])).code, 1);
  for (const shell of ["bash", "zsh", "fish"]) {
    assert.match(await ok(["completion", shell]), /banger __complete --/);
  }
});

Deno.test("nothing is left of these scenarios", async () => {
  await removeSmallImage();
  assert.ok(!(await ok(["image", "list"])).includes("surface"));
});
