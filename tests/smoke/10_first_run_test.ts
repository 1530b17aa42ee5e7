import assert from "node:assert/strict";
import { assertCleanFilesystem, banger, machineProcesses, ok, refused, STATE, vmNames } from "./fixture.ts";

Deno.test("help and version need no home, no daemon and no image", async () => {
  for (const args of [["version"], ["--help"], ["vm", "run", "--help"]]) {
    const result = await banger(args, { env: { HOME: "" } });
    assert.equal(result.code, 0, result.stderr);
    assert.equal(result.stderr, "");
  }
  assert.match((await banger(["version", "--json"])).stdout, /"commit"/);
  await refused(["ps"], 2, /HOME/, { env: { HOME: "" } });
});

Deno.test("one command on an empty home gives a command's output and exit code, and leaves nothing", async () => {
  const result = await banger([
    "vm",
    "run",
    "--rm",
    "--",
    "sh",
    "-c",
    "uname -sm; cat /etc/os-release; exit 7",
  ]);
  assert.equal(result.code, 7, result.stderr);
  assert.match(result.stdout, /^Linux x86_64\n/);
  assert.match(result.stdout, /VERSION_CODENAME=bookworm/);
  assert.match(result.stderr, /banger: booting: \d+\.\d s/, "each stage is told with its seconds");
  assert.deepEqual(await vmNames(), []);
  assert.deepEqual(await machineProcesses(), []);
});

Deno.test("stdin goes in, only the command's stdout comes out", async () => {
  const result = await banger(["vm", "run", "--rm", "--", "cat"], { stdin: "hi\n" });
  assert.equal(result.stdout, "hi\n", result.stderr);
  assert.equal(result.code, 0);
});

Deno.test("image and kernel are there now, whole, and shown", async () => {
  const [image] = JSON.parse(await ok(["image", "list", "--json"])) as {
    id: string;
    name: string;
    init: string;
  }[];
  assert.equal(image?.name, "debian-bookworm");
  assert.equal(image.init, "systemd");
  const [kernel] = JSON.parse(await ok(["kernel", "list", "--json"])) as { name: string }[];
  assert.equal(kernel?.name, "debian");
  assert.match(await ok(["image", "show", "debian-bookworm"]), /Digest:\s+sha256:/);
  assert.match(await ok(["kernel", "show", "debian"]), /sha256:\s+[0-9a-f]{64}/);
  await assertCleanFilesystem(`${STATE}/kernels/debian/modules.ext4`);
});
