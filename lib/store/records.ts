import { bridgeAddress, loopbackAddress } from "../base/addresses.ts";
import { z } from "zod";
import {
  type ImageId,
  type ImageName,
  type KernelName,
  parseVmName,
  type VmId,
  type VmName,
} from "../base/names.ts";
import type { VmState } from "../base/states.ts";
import { TRANSITIONS } from "../base/states.ts";

/** What an image runs by default, as its configuration says (OCI image-spec, config.md). */
const imageConfigSchema = z.object({
  user: z.string(),
  environment: z.record(z.string(), z.string()),
  workingDirectory: z.string(),
  entrypoint: z.array(z.string()),
  command: z.array(z.string()),
});
export type ImageConfig = z.infer<typeof imageConfigSchema>;

export const imageRecordSchema = z.object({
  id: z.string().transform((id) => id as ImageId),
  name: z.string().transform((name) => name as ImageName),
  /** What it was made from: `recipe:debian-bookworm`, an OCI reference. */
  source: z.string(),
  /** Other sources that turned out to be the same. */
  aliases: z.array(z.string()).optional(),
  /** Of the source's bytes, `sha256:…`. */
  digest: z.string(),
  /** `linux/amd64`; absent for images that are made for their host. */
  platform: z.string().optional(),
  createdAtMs: z.number(),
  /** Of the disk as a VM sees it; the file is sparse. */
  sizeBytes: z.number(),
  /** The size that was asked for; absent where the content decided. */
  requestedSizeBytes: z.number().optional(),
  /** A disk of the user's, used where it lies; absent for our own. */
  external: z.object({ path: z.string(), mtimeMs: z.number() }).optional(),
  /** The kernel that machines of it get unless another is asked for. */
  kernel: z.string().optional(),
  /** In use inside the filesystem. */
  contentBytes: z.number(),
  init: z.enum(["systemd", "other", "none"]),
  libc: z.enum(["glibc", "musl", "none"]),
  hasSshServer: z.boolean(),
  /** Build id of the agent inside. */
  agentBuild: z.string(),
  config: imageConfigSchema,
});
export type ImageRecord = z.infer<typeof imageRecordSchema>;

const vmSpecSchema = z.object({
  imageName: z.string(),
  kernelName: z.string().transform((name) => name as KernelName),
  cpus: z.number().int(),
  memoryMib: z.number().int(),
  workDiskBytes: z.number().int(),
  network: z.enum(["user", "bridge", "none"]),
  /** As `parsePublish` takes them. */
  publish: z.array(z.string()).optional(),
  /** False: nothing is forwarded without being published. */
  forward: z.boolean().optional(),
  /** As `parseNetRule` takes them; absent for what the configuration says. */
  allowNet: z.array(z.string()).optional(),
  /** How the host reaches the agent; chosen at creation. */
  transport: z.enum(["virtio-serial", "vhost-vsock", "vhost-device-vsock"]),
  environment: z.record(z.string(), z.string()),
  gitIdentity: z.object({ name: z.string(), email: z.string() }).optional(),
  /** The VMM that was asked for; absent: chosen at each start. */
  vmm: z.enum(["qemu", "firecracker"]).optional(),
});
export type VmSpec = z.infer<typeof vmSpecSchema>;

/**
 * What carries the root disk's writes: blocks shared with the image (`reflink`), an overlay file (`qcow2`), a
 * device-mapper snapshot, or a copy of the whole image, holes kept.
 */
const rootDiskModeSchema = z.enum(["reflink", "qcow2", "dm-snapshot", "copy"]);
export type RootDiskMode = z.infer<typeof rootDiskModeSchema>;

const rootDiskFileSchema = z.string().regex(/^[a-z0-9.-]+$/);

/** A root disk, and what it is of. */
const rootOfImageSchema = z.object({
  imageId: z.string().transform((id) => id as ImageId),
  imageName: z.string(),
  kernelName: z.string().transform((name) => name as KernelName),
  rootDisk: rootDiskModeSchema,
  rootDiskReason: z.string(),
  rootDiskFile: rootDiskFileSchema,
});
export type RootOfImage = z.infer<typeof rootOfImageSchema>;

/** The part of a VM that its row keeps as JSON. */
export const vmRecordSchema = z.object({
  createdAtMs: z.number(),
  /**
   * It is made to be started at once, and nobody was told yet that it is there: where the daemon ends before it has
   * run, it goes, as the command that made it says.
   */
  isUnannounced: z.literal(true).optional(),
  startedAtMs: z.number().optional(),
  /** Why it is not running though nobody stopped it. */
  lastExit: z.string().optional(),
  /** What the machine was started with, where a change of the spec waits for the next start. */
  startedWith: z.object({
    cpus: z.number().int(),
    memoryMib: z.number().int(),
    /** Absent in what an earlier version wrote. */
    kernelName: z.string().transform((name) => name as KernelName).optional(),
  }).optional(),
  /** In the trash: since when, and under which name it was known. */
  removed: z.object({ atMs: z.number(), name: z.string().transform(parseVmName) }).optional(),
  /** The tap that it has in bridge mode, from before its start until after its end. */
  tap: z.string().optional(),
  spec: vmSpecSchema,
  /** Undefined until the disks are made. */
  rootDisk: rootDiskModeSchema.optional(),
  /** For people: why it is that one. */
  rootDiskReason: z.string().optional(),
  /** The name of its file in the VM's directory. */
  rootDiskFile: rootDiskFileSchema.optional(),
  /** The one before the last change of image, kept for its undo. */
  previousRoot: rootOfImageSchema.optional(),
  /** The intent of a change of image: the new root disk's file begins with this. */
  unfinishedRoot: z.string().regex(/^root-[0-9a-f]{8}$/).optional(),
});
export type VmRecord = z.infer<typeof vmRecordSchema>;

/**
 * The name of a VM's row while it is in the trash: the old one is free for another VM. It is no VM name, so
 * nobody can take it.
 */
export function trashedName(name: VmName, id: VmId): VmName {
  return `${name}~${id}` as VmName;
}

export interface Vm extends VmRecord {
  readonly id: VmId;
  readonly name: VmName;
  /** 1 to 65,000; the address and the vsock CID derive from it. */
  readonly number: number;
  readonly imageId: ImageId;
  readonly state: VmState;
  /** As its driver wrote it; only the driver reads it. */
  readonly machine?: unknown;
  readonly brokenReason?: string;
  /** Its record cannot be read: everything but ids, name and number stands for what is not known. */
  readonly isUnreadable?: true;
}

/** Stands in for a record that cannot be read, so that its VM is shown and not absent. */
export const UNKNOWN_RECORD: VmRecord = {
  createdAtMs: 0,
  spec: {
    imageName: "unknown",
    kernelName: "unknown" as KernelName,
    cpus: 0,
    memoryMib: 0,
    workDiskBytes: 0,
    network: "none",
    transport: "virtio-serial",
    environment: {},
  },
};

export const vmStateSchema = z.enum(Object.keys(TRANSITIONS) as [VmState, ...VmState[]]);

/** Where this host reaches the VM. */
export function vmAddress({ number, spec }: Pick<Vm, "number" | "spec">): string {
  return spec.network === "bridge" ? bridgeAddress(number) : loopbackAddress(number);
}

/** Guest CIDs below 3 are reserved (vsock(7)); ours start well above what people choose by hand. */
export function vsockCid(number: number): number {
  return 42_000 + number;
}
