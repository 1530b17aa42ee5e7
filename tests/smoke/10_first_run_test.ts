import assert from "node:assert/strict";
import { bangerArguments, commandsOf, readDocument } from "../unit/docs/document_commands.ts";
import { assertCleanFilesystem } from "./clean_stop.ts";
import { banger, machineProcesses, ok, refused, STATE, vmNames } from "./fixture.ts";

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
  // As README shows it first, with a code of its own.
  const [shown] = commandsOf("README.md", await readDocument("README.md")).commands;
  const args = bangerArguments(shown!.text)[0]!;
  const script = args.at(-1)!;
  assert.deepEqual(args.slice(0, -1), ["vm", "run", "--rm", "--", "sh", "-c"]);
  const result = await banger([...args.slice(0, -1), `${script}; exit 7`]);
  assert.equal(result.code, 7, result.stderr);
  assert.match(result.stdout, /^Linux .* GNU\/Linux\n/);
  assert.match(result.stdout, /VERSION_CODENAME=bookworm/);
  assert.match(result.stderr, /banger: booting: \d+\.\d s/, "each stage is told with its seconds");
  assert.deepEqual(await vmNames(), []);
  assert.deepEqual(await machineProcesses(), []);
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
