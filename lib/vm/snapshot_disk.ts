/**
 * Root disks as device-mapper snapshots, where banger runs with root: the image is the origin and stays as it
 * is, a file beside it takes the changed blocks, the guest sees a block device.
 */
import { BangerError } from "../base/errors.ts";
import type { Host, RunResult } from "../base/host.ts";
import { withRollback } from "../base/steps.ts";

type SnapshotHost = Pick<Host, "files" | "processes" | "log">;

const CONTROL_DEVICE = "/dev/mapper/control";
const TOOLS = ["dmsetup", "losetup", "fallocate"];
const SECTOR_BYTES = 512;
/** Also what is copied when a guest writes a byte: ext4's block. */
const CHUNK_SECTORS = 8;
const CHUNK_BYTES = CHUNK_SECTORS * SECTOR_BYTES;
/** An exception is 16 bytes. Source: Linux drivers/md/dm-snap-persistent.c, struct disk_exception */
const EXCEPTIONS_PER_CHUNK = CHUNK_BYTES / 16;
const TOOL_TIMEOUT_MS = 30_000;

export interface Snapshot {
  /** Of the device, unique on this host. */
  readonly name: string;
  /** The image, which is opened read-only. */
  readonly originPath: string;
  readonly changesPath: string;
  readonly sizeBytes: number;
}

/** @returns why this host and this user cannot have them, for people; undefined where they can */
export async function obstacleToSnapshots(
  { files, processes }: Pick<Host, "files" | "processes">,
): Promise<string | undefined> {
  if (!(await files.stat(CONTROL_DEVICE))) return "the kernel has no device mapper";
  try {
    (await files.open(CONTROL_DEVICE, { read: true, write: true })).close();
  } catch (thrown) {
    if (!(thrown instanceof BangerError)) throw thrown;
    return "device-mapper snapshots need root";
  }
  for (const tool of TOOLS) if (!(await processes.which(tool))) return `${tool} is not installed`;
  return undefined;
}

/** The device of a snapshot while it is attached. */
function snapshotDevice({ name }: Pick<Snapshot, "name">): string {
  return `/dev/mapper/${name}`;
}

/**
 * What the file of changes must hold so that it is never full: every chunk of the disk, the table of where they
 * lie, and a header. Source: Linux drivers/md/dm-snap-persistent.c
 * Exported for tests.
 */
export function changesFileBytes(sizeBytes: number): number {
  const chunks = Math.ceil(sizeBytes / CHUNK_BYTES);
  return (1 + chunks + Math.ceil(chunks / EXCEPTIONS_PER_CHUNK) + 1) * CHUNK_BYTES;
}

/**
 * Makes the file of changes, its space taken at once: a snapshot that cannot write down a change once is lost as a
 * whole, so a host disk that fills must not be able to stop it. Not synced.
 *
 * @throws {BangerError} `no_space`
 */
export async function makeChangesFile(host: SnapshotHost, path: string, sizeBytes: number): Promise<void> {
  await using _made = await host.files.open(path, { write: true, createNew: true, mode: 0o600 });
  const neededBytes = changesFileBytes(sizeBytes);
  const { code, stderr } = await tool(host, "fallocate", ["--length", String(neededBytes), path]);
  if (code === 0) return;
  throw new BangerError(
    "no_space",
    `Cannot take ${neededBytes} bytes for a snapshot at ${path}: ${stderr.trim()}`,
    "Free some space, or choose another kind of root disk: --root-disk qcow2",
  );
}

/**
 * Makes the block device. One of an earlier run is put away first.
 *
 * @returns its path
 * @throws {BangerError} `host_unsupported`
 */
export async function attachSnapshot(host: SnapshotHost, snapshot: Snapshot): Promise<string> {
  await detachSnapshot(host, snapshot);
  const undoFailed = (step: string, reason: unknown) => host.log("error", "undo failed", { step, reason });
  const detachLoop = (device: string) => must(host, "losetup", ["--detach", device]).then(() => {});
  await withRollback(async (step) => {
    const origin = await step("origin", () => loopDevice(host, snapshot.originPath, true), detachLoop);
    const changes = await step("changes", () => loopDevice(host, snapshot.changesPath, false), detachLoop);
    const sectors = Math.floor(snapshot.sizeBytes / SECTOR_BYTES);
    const table = `0 ${sectors} snapshot ${origin} ${changes} P ${CHUNK_SECTORS}`;
    await must(host, "dmsetup", ["create", snapshot.name, "--table", table]);
    // Where no udev makes the device's node, nobody else would.
    await must(host, "dmsetup", ["mknodes", snapshot.name]);
    // Detached while in use, they go by themselves when the snapshot does.
    await detachLoop(origin);
    await detachLoop(changes);
  }, undoFailed);
  return snapshotDevice(snapshot);
}

/** Puts the block device away, and its loop devices with it. What the guest wrote stays. Idempotent. */
export async function detachSnapshot(
  host: SnapshotHost,
  snapshot: Pick<Snapshot, "name" | "changesPath">,
): Promise<void> {
  // Not by its node: without udev that may be missing, or stay.
  if ((await tool(host, "dmsetup", ["info", snapshot.name])).code === 0) {
    await must(host, "dmsetup", ["remove", "--retry", snapshot.name]);
    await must(host, "dmsetup", ["mknodes", snapshot.name]);
  }
  // Of an attach that was cut off.
  const listed = await must(host, "losetup", [
    "--noheadings",
    ...["--output", "NAME"],
    ...["--associated", snapshot.changesPath],
  ]);
  for (const device of listed.stdout.split("\n").map((line) => line.trim()).filter(Boolean)) {
    await must(host, "losetup", ["--detach", device]);
  }
}

async function loopDevice(host: SnapshotHost, path: string, readOnly: boolean): Promise<string> {
  const options = ["--find", "--show", ...(readOnly ? ["--read-only"] : [])];
  return (await must(host, "losetup", [...options, path])).stdout.trim();
}

function tool({ processes }: SnapshotHost, program: string, args: readonly string[]): Promise<RunResult> {
  return processes.run({ program, args }, { timeoutMs: TOOL_TIMEOUT_MS });
}

async function must(host: SnapshotHost, program: string, args: readonly string[]): Promise<RunResult> {
  const result = await tool(host, program, args);
  if (result.code === 0) return result;
  throw new BangerError(
    "host_unsupported",
    `Cannot prepare a root disk: ${program} ${args[0]} failed: ${
      result.stderr.trim() || `code ${result.code}`
    }`,
    "Choose another kind of root disk: --root-disk qcow2",
  );
}
