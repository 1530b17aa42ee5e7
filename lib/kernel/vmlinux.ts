import { createHash } from "node:crypto";
import { BangerError } from "../base/errors.ts";
import type { Files, RandomAccessFile } from "../base/host.ts";
import { decompress, sniffCompression, streamOf } from "./decompress.ts";
import { EM_X86_64, isElf64, readElfExecutable } from "./elf.ts";
import { decodeLz4Legacy } from "./lz4.ts";
import { decodeKernelXz } from "./xz_bcj.ts";
import { decodeZstd } from "./zstd.ts";

/** XEN_ELFNOTE_PHYS32_ENTRY: where a hypervisor enters through PVH. Source: Linux xen/interface/elfnote.h */
const PVH_NOTE = { name: "Xen", type: 18 } as const;
const MAX_VMLINUX_BYTES = 512 * 1024 * 1024;
const SECTOR_BYTES = 512;

/**
 * Writes the uncompressed kernel that a bzImage carries to a new file.
 *
 * @param image a bzImage as in /boot/vmlinuz-*, or an uncompressed ELF kernel
 * @returns sha256 of what was written, in hexadecimal
 * @throws {BangerError} `corrupt_data`; `host_unsupported` where the kernel's compression is unknown, where it
 *   is for another processor, or where it cannot be entered through PVH
 */
export async function writeVmlinux(
  { files }: { files: Files },
  image: Uint8Array,
  path: string,
): Promise<string> {
  const hash = createHash("sha256");
  await using file = await files.open(path, { write: true, read: true, createNew: true, mode: 0o644 });
  let at = 0;
  const payload = isElf64(image) ? undefined : findPayload(image);
  for await (const chunk of payload ? unpack(payload) : [image]) {
    if (at + chunk.length > MAX_VMLINUX_BYTES) {
      throw corrupt(`it has more than ${MAX_VMLINUX_BYTES} bytes unpacked`);
    }
    hash.update(chunk);
    await file.writeAt(chunk, at);
    at += chunk.length;
  }
  if (payload && at !== unpackedSizeOf(payload)) throw corrupt("it does not have the size that it says");
  await requireBootable(file);
  await file.sync();
  return hash.digest("hex");
}

/** @throws {BangerError} `host_unsupported` where it is for another processor or cannot be entered through PVH */
export async function requireBootable(file: RandomAccessFile): Promise<void> {
  const elf = await readElfExecutable(file, "the kernel image");
  if (elf.machine !== EM_X86_64) {
    throw unsupported("it is for another processor than x86-64", "Use a kernel package for amd64");
  }
  if (!elf.notes.some(({ name, type }) => name === PVH_NOTE.name && type === PVH_NOTE.type)) {
    throw unsupported("it has no PVH entry point", "Use a kernel that was built with CONFIG_PVH=y");
  }
}

/** Source: Linux Documentation/arch/x86/boot.rst, "The Real-Mode Kernel Header" */
function findPayload(image: Uint8Array): Uint8Array {
  if (image.length < 0x260) throw corrupt("it is too short for a bzImage");
  const view = new DataView(image.buffer, image.byteOffset, image.byteLength);
  if (view.getUint32(0x202, true) !== 0x53726448) throw corrupt("it is no bzImage");
  if (view.getUint16(0x206, true) < 0x208) throw corrupt("its boot protocol is older than 2.08");
  const setupSectors = image[0x1f1] === 0 ? 4 : image[0x1f1]!;
  const start = (setupSectors + 1) * SECTOR_BYTES + view.getUint32(0x248, true);
  const length = view.getUint32(0x24c, true);
  if (length < 8 || start + length > image.length) throw corrupt("its payload lies outside the file");
  return image.subarray(start, start + length);
}

/** The build appends it (u32) to every format but gzip, which ends with it anyway. */
function unpackedSizeOf(payload: Uint8Array): number {
  return new DataView(payload.buffer, payload.byteOffset, payload.byteLength)
    .getUint32(payload.length - 4, true);
}

function cappedSize(payload: Uint8Array): number {
  const sizeBytes = unpackedSizeOf(payload);
  if (sizeBytes <= MAX_VMLINUX_BYTES) return sizeBytes;
  throw corrupt(`it has more than ${MAX_VMLINUX_BYTES} bytes unpacked`);
}

function unpack(payload: Uint8Array): AsyncIterable<Uint8Array> | Iterable<Uint8Array> {
  const withoutSize = payload.subarray(0, -4);
  const compression = sniffCompression(payload);
  switch (compression) {
    case "lz4":
      return decodeLz4Legacy(withoutSize);
    case "xz":
      return decodeKernelXz(withoutSize, MAX_VMLINUX_BYTES);
    case "zstd":
      return unzstdPayload(withoutSize, cappedSize(payload));
    case "gzip":
      return decompress(streamOf(payload), "the kernel image");
    case "none":
      return [withoutSize];
    default:
      throw unsupported(
        `it is compressed with ${compression}`,
        "Use a kernel that was built with CONFIG_KERNEL_LZ4, _XZ, _ZSTD or _GZIP, or an uncompressed one",
      );
  }
}

async function* unzstdPayload(payload: Uint8Array, sizeBytes: number): AsyncGenerator<Uint8Array> {
  yield await decodeZstd(payload, sizeBytes, "the kernel image");
}

function corrupt(why: string): BangerError {
  return new BangerError(
    "corrupt_data",
    `Cannot unpack the kernel image: ${why}`,
    "Fetch the kernel package again",
  );
}

function unsupported(why: string, hint: string): BangerError {
  return new BangerError("host_unsupported", `Cannot use this kernel: ${why}`, hint);
}
