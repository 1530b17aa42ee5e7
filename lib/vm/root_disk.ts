import { BangerError } from "../base/errors.ts";
import type { Host } from "../base/host.ts";
import type { VmId } from "../base/names.ts";
import { imageRootfs, type Paths, vmPaths } from "../store/paths.ts";
import { requireUnchanged } from "../store/registered_disk.ts";
import type { ImageRecord, RootDiskMode, VmRecord } from "../store/records.ts";
import type { Drive } from "../vmm/driver.ts";
import { writeOverlay } from "../vmm/qcow2.ts";
import {
  attachSnapshot,
  detachSnapshot,
  makeChangesFile,
  obstacleToSnapshots,
  type Snapshot,
} from "./snapshot_disk.ts";

type DiskHost = Pick<Host, "files" | "processes" | "log">;

export interface RootDiskWishes {
  /** `--root-disk`, or the configuration's. */
  readonly mode?: RootDiskMode | undefined;
  /** The VMM reads no overlays. */
  readonly needsRaw: boolean;
}

/** The part of a VM's record that says what its root disk is. */
export interface RootDisk {
  readonly rootDisk: RootDiskMode;
  readonly rootDiskReason: string;
  readonly rootDiskFile: string;
}

/** The reason of a root disk that is as somebody wanted it. */
export const ASKED_FOR = "it was asked for";

const SUFFIXES: Readonly<Record<RootDiskMode, string>> = {
  reflink: "raw",
  copy: "raw",
  qcow2: "qcow2",
  "dm-snapshot": "cow",
};

/**
 * Makes a root disk, the cheapest copy-on-write that the host offers: blocks shared with the image; else an
 * overlay, which takes no time and no space; for a VMM without overlays a device-mapper snapshot, else a copy.
 * Not synced.
 *
 * @param id names the VM's directory, which exists
 * @param stem of the file's name, one that is not in use there
 * @throws {BangerError} `host_unsupported` where the mode that was asked for cannot be had
 */
export async function makeRootDisk(
  host: DiskHost,
  paths: Paths,
  image: ImageRecord,
  id: VmId,
  wishes: RootDiskWishes,
  stem = "root",
): Promise<RootDisk> {
  const origin = imageRootfs(paths, image);
  const { directory } = vmPaths(paths, id);
  const made = (mode: RootDiskMode, why: string): RootDisk => ({
    rootDisk: mode,
    rootDiskReason: wishes.mode ? ASKED_FOR : why,
    rootDiskFile: `${stem}.${SUFFIXES[mode]}`,
  });
  const target = (mode: RootDiskMode) => `${directory}/${stem}.${SUFFIXES[mode]}`;
  const { mode } = wishes;
  if (mode === "qcow2" && wishes.needsRaw) {
    throw new BangerError(
      "host_unsupported",
      "Cannot use a qcow2 root disk: Firecracker reads raw disks only",
      "Choose --root-disk copy, or --vmm qemu",
    );
  }
  if (mode === undefined || mode === "reflink") {
    if (await host.files.reflink(origin, target("reflink"))) {
      return made("reflink", "the host's filesystem shares blocks between files");
    }
    if (mode === "reflink") throw cannotShareBlocks(directory);
  }
  if (mode === "qcow2" || (mode === undefined && !wishes.needsRaw)) {
    await writeOverlay({ files: host.files }, target("qcow2"), {
      backingPath: origin,
      virtualSizeBytes: image.sizeBytes,
    });
    return made("qcow2", "the host's filesystem cannot share blocks between files");
  }
  const obstacle = mode === "copy" ? undefined : await obstacleToSnapshots(host);
  if (mode === "dm-snapshot" && obstacle !== undefined) throw noSnapshots(obstacle);
  if (mode !== "copy" && obstacle === undefined) {
    await makeChangesFile(host, target("dm-snapshot"), image.sizeBytes);
    return made("dm-snapshot", "Firecracker has no overlays, and this host has device-mapper snapshots");
  }
  await host.files.copySparse(origin, target("copy"));
  return made("copy", `Firecracker has no overlays, and ${obstacle}`);
}

function cannotShareBlocks(directory: string): BangerError {
  return new BangerError(
    "host_unsupported",
    `Cannot make a reflink root disk: the filesystem of ${directory} cannot share blocks between files`,
    "Choose --root-disk qcow2, or keep banger's state and its images on one Btrfs or XFS",
  );
}

function noSnapshots(obstacle: string): BangerError {
  return new BangerError(
    "host_unsupported",
    `Cannot make a dm-snapshot root disk: ${obstacle}`,
    "Choose another: --root-disk qcow2",
  );
}

/** Records of older builds do not name it. */
export function rootDiskFileName(vm: Pick<VmRecord, "rootDisk" | "rootDiskFile">): string {
  return vm.rootDiskFile ?? `root.${SUFFIXES[vm.rootDisk ?? "qcow2"]}`;
}

type HasRootDisk = Pick<VmRecord, "rootDisk" | "rootDiskFile"> & { readonly id: VmId };

/** The file that takes the root disk's writes. */
export function rootDiskPath(paths: Paths, vm: HasRootDisk): string {
  return `${vmPaths(paths, vm.id).directory}/${rootDiskFileName(vm)}`;
}

/**
 * What the VMM opens as the root disk; attaches it where that takes something.
 *
 * @throws {BangerError} `wrong_state`, `not_found` where it holds only what differs from a registered disk that was
 * changed meanwhile
 */
export async function attachRootDisk(
  host: DiskHost,
  paths: Paths,
  vm: HasRootDisk,
  image: ImageRecord,
): Promise<Drive> {
  const path = rootDiskPath(paths, vm);
  // The guest would read a mixture of two disks: what it wrote lies over blocks that are others by now.
  if (vm.rootDisk === "qcow2" || vm.rootDisk === "dm-snapshot") await requireUnchanged(host.files, image);
  if (vm.rootDisk === "qcow2") {
    return { id: "root", path, format: "qcow2", backingPath: imageRootfs(paths, image), readOnly: false };
  }
  if (vm.rootDisk === "dm-snapshot") {
    const snapshot: Snapshot = {
      ...snapshotOf(paths, vm),
      originPath: imageRootfs(paths, image),
      sizeBytes: image.sizeBytes,
    };
    const device = await attachSnapshot(host, snapshot);
    return { id: "root", path: device, format: "raw", readOnly: false, isDevice: true };
  }
  return { id: "root", path, format: "raw", readOnly: false };
}

/** Lets go of what `attachRootDisk` took. Call once the machine is gone. Idempotent. */
export async function detachRootDisk(host: DiskHost, paths: Paths, vm: HasRootDisk): Promise<void> {
  if (vm.rootDisk === "dm-snapshot") await detachSnapshot(host, snapshotOf(paths, vm));
}

function snapshotOf(paths: Paths, vm: HasRootDisk): Pick<Snapshot, "name" | "changesPath"> {
  return { name: `banger-${vm.id}`, changesPath: rootDiskPath(paths, vm) };
}
