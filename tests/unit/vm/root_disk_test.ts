import assert from "node:assert/strict";
import { BangerError } from "../../../lib/base/errors.ts";
import type { Files, Host } from "../../../lib/base/host.ts";
import type { VmId } from "../../../lib/base/names.ts";
import type { Paths } from "../../../lib/store/paths.ts";
import type { ImageRecord, RootDiskMode } from "../../../lib/store/records.ts";
import { attachRootDisk, makeRootDisk } from "../../../lib/vm/root_disk.ts";
import { attachSnapshot, changesFileBytes, detachSnapshot } from "../../../lib/vm/snapshot_disk.ts";

const ID = "0123456789ab" as VmId;
const PATHS = { vmsDirectory: "/vms", imagesDirectory: "/images", runtimeDirectory: "/run" } as Paths;
const IMAGE = { id: "abc", sizeBytes: 64 * 1024 * 1024 } as ImageRecord;

interface World {
  readonly canReflink?: boolean;
  readonly deviceMapper?: "absent" | "forbidden" | "usable";
  readonly tools?: readonly string[];
  /** Whether a program fails, by its name and first argument. */
  readonly fails?: string;
}

/** A host that only tells what was asked of it. */
function fakeHost(world: World) {
  const asked: string[] = [];
  const file = {
    writeAt: () => Promise.resolve(),
    truncate: () => Promise.resolve(),
    sync: () => Promise.resolve(),
    close: () => {},
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
  const devices = new Set<string>();
  const files = {
    reflink(_from: string, to: string) {
      asked.push(`reflink ${to}`);
      return Promise.resolve(world.canReflink ?? false);
    },
    copySparse(_from: string, to: string) {
      asked.push(`copy ${to}`);
      return Promise.resolve();
    },
    stat(path: string) {
      if (path === "/dev/mapper/control") {
        return Promise.resolve((world.deviceMapper ?? "absent") === "absent" ? undefined : {});
      }
      if (path.startsWith("/images/")) return Promise.resolve({ sizeBytes: IMAGE.sizeBytes });
      return Promise.resolve(devices.has(path) ? {} : undefined);
    },
    open(path: string) {
      if (path === "/dev/mapper/control" && world.deviceMapper === "forbidden") {
        return Promise.reject(new BangerError("permission_denied", "no"));
      }
      if (!path.startsWith("/dev/")) asked.push(`make ${path}`);
      return Promise.resolve(file);
    },
    writeAtomic(path: string) {
      asked.push(`make ${path}`);
      return Promise.resolve();
    },
  } as unknown as Files;
  const processes = {
    which: (program: string) =>
      Promise.resolve((world.tools ?? ["dmsetup", "losetup", "fallocate"]).find((tool) => tool === program)),
    run({ program, args }: { program: string; args: readonly string[] }) {
      asked.push([program, ...args].join(" "));
      if (`${program} ${args[0]}` === world.fails) {
        return Promise.resolve({ code: 1, stdout: "", stderr: "no\n" });
      }
      if (args[0] === "info" && !devices.has(`/dev/mapper/${args[1]}`)) {
        return Promise.resolve({ code: 1, stdout: "", stderr: "no such device\n" });
      }
      if (args[0] === "create") devices.add(`/dev/mapper/${args[1]}`);
      if (args[0] === "remove") devices.delete(`/dev/mapper/${args[2]}`);
      const isLoop = args.includes("--show");
      return Promise.resolve({ code: 0, stdout: isLoop ? `/dev/loop${asked.length}\n` : "", stderr: "" });
    },
  } as unknown as Host["processes"];
  return { asked, devices, host: { files, processes, log: () => {} } };
}

type Case = readonly [
  string,
  World,
  { mode?: RootDiskMode; needsRaw?: boolean },
  RootDiskMode,
  RegExp,
];

const CASES: readonly Case[] = [
  ["a filesystem with reflinks", { canReflink: true }, {}, "reflink", /shares blocks/],
  ["any other filesystem", {}, {}, "qcow2", /cannot share blocks/],
  ["reflinks, and Firecracker", { canReflink: true }, { needsRaw: true }, "reflink", /shares blocks/],
  [
    "Firecracker and root",
    { deviceMapper: "usable" },
    { needsRaw: true },
    "dm-snapshot",
    /has device-mapper/,
  ],
  ["Firecracker without root", { deviceMapper: "forbidden" }, { needsRaw: true }, "copy", /need root/],
  ["Firecracker without device mapper", {}, { needsRaw: true }, "copy", /kernel has no device mapper/],
  [
    "Firecracker without dmsetup",
    { deviceMapper: "usable", tools: ["losetup"] },
    { needsRaw: true },
    "copy",
    /dmsetup is not installed/,
  ],
  ["a wish for an overlay", { canReflink: true }, { mode: "qcow2" }, "qcow2", /asked for/],
  ["a wish for a copy", { canReflink: true, deviceMapper: "usable" }, { mode: "copy" }, "copy", /asked for/],
  ["a wish for a snapshot", { deviceMapper: "usable" }, { mode: "dm-snapshot" }, "dm-snapshot", /asked for/],
];

for (const [what, world, { mode, needsRaw = false }, expected, why] of CASES) {
  Deno.test(`makeRootDisk() makes ${expected} with ${what}`, async () => {
    const { host, asked } = fakeHost(world);
    const made = await makeRootDisk(host, PATHS, IMAGE, ID, { mode, needsRaw });
    assert.equal(made.rootDisk, expected);
    assert.match(made.rootDiskReason, why);
    assert.ok(asked.some((one) => one.includes(`/vms/${ID}/${made.rootDiskFile}`)), asked.join("\n"));
  });
}

const REFUSALS: readonly [string, World, { mode: RootDiskMode; needsRaw?: boolean }, RegExp][] = [
  ["reflink", {}, { mode: "reflink" }, /cannot share blocks/],
  ["dm-snapshot without root", { deviceMapper: "forbidden" }, { mode: "dm-snapshot" }, /need root/],
  ["qcow2 for Firecracker", {}, { mode: "qcow2", needsRaw: true }, /Firecracker reads raw disks only/],
];

for (const [what, world, { mode, needsRaw = false }, text] of REFUSALS) {
  Deno.test(`makeRootDisk() refuses ${what} that cannot be had`, async () => {
    const { host } = fakeHost(world);
    await assert.rejects(
      makeRootDisk(host, PATHS, IMAGE, ID, { mode, needsRaw }),
      (thrown) =>
        thrown instanceof BangerError && thrown.code === "host_unsupported" && text.test(thrown.message),
    );
  });
}

Deno.test("changesFileBytes() is more than every block of the disk, so a snapshot is never full", () => {
  // 256 blocks and their one block of table, the header, and one more.
  assert.equal(changesFileBytes(1024 * 1024), (256 + 1 + 1 + 1) * 4096);
  assert.equal(changesFileBytes(1024 * 1024 + 512), (257 + 2 + 1 + 1) * 4096);
});

const SNAPSHOT = { name: "banger-x", originPath: "/i", changesPath: "/c", sizeBytes: 1024 * 1024 };

Deno.test("a snapshot is attached over two loop devices that go with it, and detached twice", async () => {
  const { host, asked, devices } = fakeHost({ deviceMapper: "usable" });
  assert.equal(await attachSnapshot(host, SNAPSHOT), "/dev/mapper/banger-x");
  assert.ok(
    asked.some((one) =>
      /^dmsetup create banger-x --table 0 2048 snapshot \/dev\/loop\d+ \/dev\/loop\d+ P 8$/.test(one)
    ),
  );
  assert.ok(asked.some((one) => /^losetup .*--read-only \/i$/.test(one)), "the image is opened read-only");
  assert.equal(asked.filter((one) => one.startsWith("losetup --detach")).length, 2);
  await detachSnapshot(host, SNAPSHOT);
  assert.equal(devices.size, 0);
  await detachSnapshot(host, SNAPSHOT);
});

Deno.test("a snapshot that cannot be made leaves no loop device", async () => {
  const { host, asked } = fakeHost({ deviceMapper: "usable", fails: "dmsetup create" });
  await assert.rejects(attachSnapshot(host, SNAPSHOT), /dmsetup create failed: no/);
  assert.equal(asked.filter((one) => one.startsWith("losetup --detach")).length, 2);
});

Deno.test("an overlay is not attached over a registered disk that was changed since", async () => {
  const { host } = fakeHost({});
  const registered = (mtimeMs: number) => {
    const files = {
      ...host.files,
      stat: () => Promise.resolve({ kind: "file", sizeBytes: IMAGE.sizeBytes, mtimeMs }),
    } as unknown as Files;
    const image = {
      ...IMAGE,
      name: "mine",
      external: { path: "/home/me/root.ext4", mtimeMs: 5 },
    } as ImageRecord;
    return (rootDisk: RootDiskMode) => attachRootDisk({ ...host, files }, PATHS, { id: ID, rootDisk }, image);
  };
  const drive = await registered(5)("qcow2");
  assert.equal("backingPath" in drive && drive.backingPath, "/home/me/root.ext4");
  await assert.rejects(
    registered(6)("qcow2"),
    (thrown) =>
      thrown instanceof BangerError && thrown.code === "wrong_state" &&
      /was changed since/.test(thrown.message),
  );
  // A copy needs the image no more.
  assert.equal((await registered(6)("copy")).format, "raw");
});
