/**
 * What banger does with device-mapper snapshots, where there is a device mapper: compiled, and run as root inside a
 * machine. Prints what it saw as JSON on its last line.
 *
 * snapshot_in_guest DIRECTORY
 */
import { createHash } from "node:crypto";
import type { VmId } from "../../lib/base/names.ts";
import type { Paths } from "../../lib/store/paths.ts";
import type { ImageRecord } from "../../lib/store/records.ts";
import { realHost } from "../../lib/sys/host.ts";
import { attachRootDisk, detachRootDisk, makeRootDisk, rootDiskPath } from "../../lib/vm/root_disk.ts";

const IMAGE_BYTES = 64 * 1024 * 1024;
const ID = "0123456789ab" as VmId;

const host = realHost();
const directory = Deno.args[0]!;
const paths = {
  imagesDirectory: `${directory}/images`,
  vmsDirectory: `${directory}/vms`,
  runtimeDirectory: `${directory}/run`,
} as Paths;
const image = { id: "img", sizeBytes: IMAGE_BYTES } as ImageRecord;
const rootfs = `${paths.imagesDirectory}/img/rootfs.ext4`;
const mountPoint = `${directory}/mnt`;

async function run(program: string, ...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await host.processes.run({ program, args });
  if (code !== 0) throw new Error(`${program} ${args.join(" ")} exited ${code}: ${stderr}`);
  return stdout;
}

async function sha256(path: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of host.files.readStream(path)) hash.update(chunk);
  return hash.digest("hex");
}

async function mounted<T>(device: string, act: () => Promise<T>): Promise<T> {
  await run("mount", "-t", "ext4", device, mountPoint);
  try {
    return await act();
  } finally {
    await run("umount", mountPoint);
  }
}

/** What is left outside the VM's directory. */
async function leftovers(): Promise<string[]> {
  const devices = (await host.files.list("/dev/mapper")).filter((name) => name !== "control");
  const loops = (await run("losetup", "--noheadings", "--list", "--output", "NAME")).trim();
  return [...devices, ...(loops === "" ? [] : [loops])];
}

for (const path of [`${paths.imagesDirectory}/img`, `${paths.vmsDirectory}/${ID}`, mountPoint]) {
  await host.files.makeDirectory(path);
}
await run("truncate", "--size", String(IMAGE_BYTES), rootfs);
await run("mke2fs", "-q", "-F", "-t", "ext4", rootfs);
const imageBefore = await sha256(rootfs);

const root = await makeRootDisk(host, paths, image, ID, { needsRaw: true });
const vm = { id: ID, ...root };
const changes = await host.files.stat(rootDiskPath(paths, vm));

const first = await attachRootDisk(host, paths, vm, image);
const table = (await run("dmsetup", "table", `banger-${ID}`)).trim();
await mounted(first.path, () => Deno.writeTextFile(`${mountPoint}/kept`, "from the first run"));
await detachRootDisk(host, paths, vm);
const leftAfterFirst = await leftovers();

// As a daemon that was killed leaves it: half attached, then whole.
await run("losetup", "--find", rootDiskPath(paths, vm));
const second = await attachRootDisk(host, paths, vm, image);
const again = await attachRootDisk(host, paths, vm, image);
const kept = await mounted(again.path, async () => {
  const text = await Deno.readTextFile(`${mountPoint}/kept`);
  // More than the image is large: every block changes, and the snapshot is still not full.
  const filled = await host.processes.run({
    program: "dd",
    args: ["if=/dev/urandom", `of=${mountPoint}/fill`, "bs=1M"],
  });
  await run("rm", `${mountPoint}/fill`);
  return { text, isDiskFull: /No space left/.test(filled.stderr) };
});
const status = (await run("dmsetup", "status", `banger-${ID}`)).trim();
const check = await host.processes.run({ program: "e2fsck", args: ["-fn", again.path] });
await detachRootDisk(host, paths, vm);
await detachRootDisk(host, paths, vm);

console.log(JSON.stringify({
  root,
  changes,
  drive: first,
  isSameDevice: first.path === second.path,
  table,
  leftAfterFirst,
  kept,
  status,
  fsckCode: check.code,
  leftAtEnd: await leftovers(),
  isImageUntouched: await sha256(rootfs) === imageBefore,
}));
