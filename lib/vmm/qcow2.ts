import { BangerError } from "../base/errors.ts";
import type { Files } from "../base/host.ts";

/** Of `docs/interop/qcow2.txt` in QEMU: 64 KiB clusters, QEMU's own default. */
const CLUSTER_BITS = 16;
const CLUSTER_BYTES = 1 << CLUSTER_BITS;
const MAGIC = 0x514649fb; // "QFI\xfb"
const VERSION = 3;
const HEADER_BYTES = 104;
/** Refcounts of 16 bits: 2^4. */
const REFCOUNT_ORDER = 4;
const REFCOUNTS_PER_BLOCK = CLUSTER_BYTES / 2;
/** Each 8-byte L1 entry names an L2 table, whose 8192 entries map 64 KiB each. */
const BYTES_PER_L1_ENTRY = (CLUSTER_BYTES / 8) * CLUSTER_BYTES;
const EXTENSION_BACKING_FORMAT = 0xe2792aca;
const EXTENSION_END = 0;
/** The specification's limit. */
const MAX_BACKING_NAME_BYTES = 1023;
const SECTOR_BYTES = 512;
/** Far above any disk banger makes; keeps the L1 table and its refcounts in their one block. */
const MAX_VIRTUAL_BYTES = 2 ** 50;

export interface OverlaySpec {
  /** Absolute path of the raw file below. It must not change as long as the overlay lives. */
  readonly backingPath: string;
  /** What the guest sees: a multiple of 512, at least the backing file's size. */
  readonly virtualSizeBytes: number;
}

/**
 * An empty qcow2 overlay: every read comes from the backing file until the guest has written. Its size does
 * not depend on the disk's, beyond 8 bytes for each 512 MiB. Pure.
 *
 * Layout, in clusters: header, refcount table, refcount block, L1 table.
 *
 * @returns the whole file, always complete clusters
 * @throws {BangerError} `invalid_argument`
 * Source: QEMU docs/interop/qcow2.txt
 * Exported for tests.
 */
export function encodeOverlay({ backingPath, virtualSizeBytes }: OverlaySpec): Uint8Array<ArrayBuffer> {
  const name = checkedBackingName(backingPath);
  if (
    !Number.isSafeInteger(virtualSizeBytes) || virtualSizeBytes <= 0 ||
    virtualSizeBytes > MAX_VIRTUAL_BYTES ||
    virtualSizeBytes % SECTOR_BYTES !== 0
  ) {
    throw new BangerError("invalid_argument", `Cannot make an overlay of ${virtualSizeBytes} bytes`);
  }
  const l1Entries = Math.ceil(virtualSizeBytes / BYTES_PER_L1_ENTRY);
  const l1Clusters = Math.ceil((l1Entries * 8) / CLUSTER_BYTES);
  const clusters = 3 + l1Clusters;
  if (clusters > REFCOUNTS_PER_BLOCK) throw new RangeError("one refcount block is not enough");
  const file = new Uint8Array(clusters * CLUSTER_BYTES);
  const view = new DataView(file.buffer);
  writeHeader(view, virtualSizeBytes, l1Entries);
  writeExtensions(file, view, name);
  // The refcount table's only entry: the one block.
  view.setBigUint64(1 * CLUSTER_BYTES, BigInt(2 * CLUSTER_BYTES));
  for (let cluster = 0; cluster < clusters; cluster++) view.setUint16(2 * CLUSTER_BYTES + cluster * 2, 1);
  return file;
}

function checkedBackingName(backingPath: string): Uint8Array {
  const name = new TextEncoder().encode(backingPath);
  if (!backingPath.startsWith("/") || backingPath.includes("\0") || name.length > MAX_BACKING_NAME_BYTES) {
    throw new BangerError(
      "invalid_argument",
      "Cannot make an overlay: its backing file's path is not absolute, or longer than 1023 bytes",
      "Set XDG_STATE_HOME to a shorter path",
    );
  }
  return name;
}

function writeHeader(view: DataView, virtualSizeBytes: number, l1Entries: number): void {
  view.setUint32(0, MAGIC);
  view.setUint32(4, VERSION);
  view.setUint32(20, CLUSTER_BITS);
  view.setBigUint64(24, BigInt(virtualSizeBytes));
  view.setUint32(32, 0); // no encryption
  view.setUint32(36, l1Entries);
  view.setBigUint64(40, BigInt(3 * CLUSTER_BYTES)); // L1 table
  view.setBigUint64(48, BigInt(1 * CLUSTER_BYTES)); // refcount table
  view.setUint32(56, 1); // refcount table's clusters
  // 60: no snapshots. 72, 80, 88: no feature bits, so also no lazy refcounts.
  view.setUint32(96, REFCOUNT_ORDER);
  view.setUint32(100, HEADER_BYTES);
}

/** The backing file's format is said, so that nobody guesses it from content that a guest may have written. */
function writeExtensions(file: Uint8Array, view: DataView, name: Uint8Array): void {
  const format = new TextEncoder().encode("raw");
  let at = HEADER_BYTES;
  view.setUint32(at, EXTENSION_BACKING_FORMAT);
  view.setUint32(at + 4, format.length);
  file.set(format, at + 8);
  at += 8 + Math.ceil(format.length / 8) * 8;
  view.setUint32(at, EXTENSION_END);
  view.setUint32(at + 4, 0);
  at += 8;
  file.set(name, at);
  view.setBigUint64(8, BigInt(at));
  view.setUint32(16, name.length);
}

/**
 * Makes the overlay file; it must not exist yet. Not synced.
 *
 * @throws {BangerError} `already_exists`, `not_found`, `invalid_argument`, `no_space`
 */
export async function writeOverlay(
  { files }: { readonly files: Pick<Files, "open" | "stat"> },
  path: string,
  spec: OverlaySpec,
): Promise<void> {
  const backing = await files.stat(spec.backingPath);
  if (!backing) {
    throw new BangerError("not_found", `Cannot make an overlay of ${spec.backingPath}: it does not exist`);
  }
  if (backing.sizeBytes > spec.virtualSizeBytes) {
    throw new BangerError(
      "invalid_argument",
      `Cannot make an overlay of ${spec.virtualSizeBytes} bytes: the disk below it has ${backing.sizeBytes}`,
    );
  }
  await using overlay = await files.open(path, { write: true, createNew: true, mode: 0o600 });
  await overlay.writeAt(encodeOverlay(spec), 0);
}
