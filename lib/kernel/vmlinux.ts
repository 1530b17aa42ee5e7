import { createHash } from "node:crypto";
import { type Architecture, ARCHITECTURES } from "../base/architecture.ts";
import { BangerError } from "../base/errors.ts";
import type { Host, RandomAccessFile } from "../base/host.ts";
import { decompress, sniffCompression, streamOf } from "./decompress.ts";
import { isElf64, readElfExecutable } from "./elf.ts";
import { decodeLz4Legacy } from "./lz4.ts";
import { decodeKernelXz } from "./xz_bcj.ts";
import { decodeZstd } from "./zstd.ts";

/** XEN_ELFNOTE_PHYS32_ENTRY: where a hypervisor enters through PVH. Source: Linux xen/interface/elfnote.h */
const PVH_NOTE = { name: "Xen", type: 18 } as const;
const MAX_VMLINUX_BYTES = 512 * 1024 * 1024;
const SECTOR_BYTES = 512;
/** Of an arm64 Image: at 56 of its header of 64 bytes. Source: Linux Documentation/arch/arm64/booting.rst */
const IMAGE_MAGIC = { at: 56, value: 0x644d5241 } as const;
const IMAGE_HEADER_BYTES = 64;

/**
 * Writes the uncompressed kernel of an image to a new file.
 *
 * @param image as in /boot/vmlinuz-*: for x86-64 a bzImage or an uncompressed ELF kernel, for arm64 an Image, which
 *   may be compressed by gzip
 * @returns sha256 of what was written, in hexadecimal
 * @throws {BangerError} `corrupt_data`; `host_unsupported` where the kernel's compression is unknown, where it
 *   is for another processor, or where it cannot be entered through PVH
 */
export async function writeVmlinux(
  { files, processes: { architecture } }: Pick<Host, "files" | "processes">,
  image: Uint8Array,
  path: string,
): Promise<string> {
  const hash = createHash("sha256");
  await using file = await files.open(path, { write: true, read: true, createNew: true, mode: 0o644 });
  let at = 0;
  const isPacked = ARCHITECTURES[architecture].kernel.format === "pvh" && !isElf64(image);
  const payload = isPacked ? findPayload(image) : undefined;
  for await (const chunk of payload ? unpack(payload) : plain(image)) {
    if (at + chunk.length > MAX_VMLINUX_BYTES) {
      throw corrupt(`it has more than ${MAX_VMLINUX_BYTES} bytes unpacked`);
    }
    hash.update(chunk);
    await file.writeAt(chunk, at);
    at += chunk.length;
  }
  if (payload && at !== unpackedSizeOf(payload)) throw corrupt("it does not have the size that it says");
  await requireBootable(file, architecture);
  await file.sync();
  return hash.digest("hex");
}

/**
 * @throws {BangerError} `corrupt_data`; `host_unsupported` where it is for another processor, or where QEMU cannot
 *   enter it
 */
export async function requireBootable(file: RandomAccessFile, architecture: Architecture): Promise<void> {
  const { kernel, elfMachine, debianName } = ARCHITECTURES[architecture];
  if (kernel.format === "image") return await requireImage(file, debianName);
  const elf = await readElfExecutable(file, "the kernel image");
  if (elf.machine !== elfMachine) {
    throw unsupported(
      `it is for another processor than ${architecture}`,
      `Use a kernel package for ${debianName}`,
    );
  }
  if (!elf.notes.some(({ name, type }) => name === PVH_NOTE.name && type === PVH_NOTE.type)) {
    throw unsupported("it has no PVH entry point", "Use a kernel that was built with CONFIG_PVH=y");
  }
}

async function requireImage(file: RandomAccessFile, debianName: string): Promise<void> {
  const header = new Uint8Array(IMAGE_HEADER_BYTES);
  const count = await file.readAt(header, 0);
  const magic = new DataView(header.buffer).getUint32(IMAGE_MAGIC.at, true);
  if (count === IMAGE_HEADER_BYTES && magic === IMAGE_MAGIC.value) return;
  throw unsupported(
    "it is no arm64 Image",
    `Use a kernel package for ${debianName}, uncompressed or by gzip`,
  );
}

/** What is no bzImage: compressed by gzip, or not at all. */
function plain(image: Uint8Array): AsyncIterable<Uint8Array> | Iterable<Uint8Array> {
  return sniffCompression(image) === "gzip" ? decompress(streamOf(image), "the kernel image") : [image];
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
