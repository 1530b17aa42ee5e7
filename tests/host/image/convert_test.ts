import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import type { Progress } from "../../../lib/base/host.ts";
import { MIB } from "../../../lib/base/units.ts";
import { convertToDisk } from "../../../lib/image/convert.ts";
import { PLAIN_CONFIG, type RootSource } from "../../../lib/image/root_source.ts";
import { replayTar } from "../../../lib/image/tar_source.ts";
import { assertHolds } from "../oci/bangers_own.ts";
import { listDisk } from "../oci/disk_listing.ts";
import { listDirectory } from "../oci/listing.ts";
import { host, requireTools, run, runOk, temporaryDirectory, write } from "../guest_files/tools.ts";

const SILENT: Progress = { stage: () => {}, update: () => {}, note: () => {} };
const NEVER = new AbortController().signal;
const AGENT = { buildId: "test-build", open: () => ReadableStream.from([new Uint8Array(70_000).fill(0x41)]) };

function tarSource(path: string): RootSource {
  return {
    source: "test:tar",
    seed: "test:tar",
    timestamp: { seconds: 1_700_000_000, nanoseconds: 0 },
    sizeBytes: 64 * MIB,
    fill: async (sink, _progress, signal) => {
      const { root, digest } = await replayTar(host.files.readStream(path), sink, () => {}, signal);
      return { root, digest, config: PLAIN_CONFIG };
    },
  };
}

/** A small root filesystem around busybox, as tar makes it. */
async function makeTar(directory: string): Promise<string> {
  await requireTools("tar", "busybox");
  const root = `${directory}/tree`;
  await Deno.mkdir(`${root}/usr/bin`, { recursive: true });
  await Deno.symlink("usr/bin", `${root}/bin`);
  await Deno.copyFile((await host.processes.which("busybox"))!, `${root}/usr/bin/busybox`);
  for (const name of ["sh", "ls", "init"]) await Deno.symlink("busybox", `${root}/usr/bin/${name}`);
  await write(`${root}/etc/passwd`, "root:x:0:0::/root:/bin/sh\n");
  await Deno.link(`${root}/etc/passwd`, `${root}/etc/passwd-`);
  for (let i = 0; i < 300; i++) {
    await write(`${root}/srv/${i % 7}/file-${i}`, `${i}\n`.repeat(i * 10), 0o600 + i % 64);
  }
  const tar = `${directory}/root.tar`;
  await runOk("tar", ["--format=pax", "-C", root, "-cf", tar, "."]);
  return tar;
}

async function sha256(path: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of host.files.readStream(path)) hash.update(chunk);
  return hash.digest("hex");
}

Deno.test("two conversions of one tar are byte-identical, and e2fsck finds nothing wrong", async () => {
  await requireTools("e2fsck");
  await using directory = await temporaryDirectory();
  const tar = await makeTar(directory.path);
  const disks = [`${directory.path}/a.ext4`, `${directory.path}/b.ext4`];
  for (const disk of disks) {
    const converted = await convertToDisk(host, tarSource(tar), disk, AGENT, SILENT, NEVER);
    assert.equal(converted.digest, `sha256:${await sha256(tar)}`);
    assert.equal(converted.sizeBytes, (await Deno.stat(disk)).size);
    const { code, stdout } = await run("e2fsck", ["-fn", disk]);
    assert.equal(code, 0, stdout);
  }
  assert.equal(await sha256(disks[0]!), await sha256(disks[1]!));
});

Deno.test("what is on the disk is what was in the tar, and banger's own", async () => {
  await using directory = await temporaryDirectory();
  const disk = `${directory.path}/root.ext4`;
  await convertToDisk(host, tarSource(await makeTar(directory.path)), disk, AGENT, SILENT, NEVER);
  assertHolds(await listDisk(disk), await listDirectory(`${directory.path}/tree`));
});

Deno.test("what debugfs takes out of the disk is what was in the tar", async () => {
  await requireTools("debugfs", "diff");
  await using directory = await temporaryDirectory();
  const disk = `${directory.path}/root.ext4`;
  await convertToDisk(host, tarSource(await makeTar(directory.path)), disk, AGENT, SILENT, NEVER);
  await Deno.mkdir(`${directory.path}/out`);
  for (const name of ["srv", "usr", "etc"]) {
    await runOk("debugfs", ["-R", `rdump /${name} ${directory.path}/out`, disk]);
  }
  const { stdout } = await run("diff", ["-r", "--no-dereference", "tree", "out"], { cwd: directory.path });
  assert.deepEqual(stdout.split("\n").filter(Boolean).sort(), [
    "Only in out/etc: modules-load.d",
    "Only in out/etc: systemd",
    "Only in out/usr: local",
    "Only in tree: bin",
  ]);
});

Deno.test("conversion never overwrites a disk that is there", async () => {
  await using directory = await temporaryDirectory();
  const disk = `${directory.path}/root.ext4`;
  await write(disk, "precious");
  await assert.rejects(
    convertToDisk(host, tarSource(await makeTar(directory.path)), disk, AGENT, SILENT, NEVER),
  );
  assert.equal(await Deno.readTextFile(disk), "precious");
});
