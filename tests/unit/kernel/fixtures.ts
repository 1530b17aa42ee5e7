/** Packages, modules and kernels put together byte by byte, as small as the parsers allow. */
import { gzipSync } from "node:zlib";
import { concatBytes } from "../../../lib/base/bytes.ts";

const text = new TextEncoder();

export function ar(members: readonly (readonly [name: string, content: Uint8Array])[]): Uint8Array {
  const parts = [text.encode("!<arch>\n")];
  for (const [name, content] of members) {
    const fields = [name.padEnd(16), "0".padEnd(12), "0".padEnd(6), "0".padEnd(6), "100644".padEnd(8)];
    parts.push(text.encode(`${fields.join("")}${String(content.length).padEnd(10)}\`\n`), content);
    if (content.length % 2 === 1) parts.push(text.encode("\n"));
  }
  return concatBytes(parts);
}

export interface TarMember {
  readonly path: string;
  readonly content?: Uint8Array | string;
  readonly type?: string;
  /** Instead of the content's own. */
  readonly sizeField?: string;
}

/** ustar; two zero blocks at the end. */
export function tar(members: readonly TarMember[]): Uint8Array {
  const parts: Uint8Array[] = [];
  for (const { path, content = "", type = "0", sizeField } of members) {
    const bytes = typeof content === "string" ? text.encode(content) : content;
    const header = new Uint8Array(512);
    const put = (at: number, value: string) => header.set(text.encode(value), at);
    put(0, path.slice(0, 100));
    put(100, "0000644\0");
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, sizeField ?? `${bytes.length.toString(8).padStart(11, "0")}\0`);
    put(136, "00000000000\0");
    put(148, "        ");
    put(156, type);
    put(257, "ustar\0" + "00");
    const sum = header.reduce((total, byte) => total + byte, 0);
    put(148, `${sum.toString(8).padStart(6, "0")}\0 `);
    parts.push(header, bytes, new Uint8Array((512 - bytes.length % 512) % 512));
  }
  parts.push(new Uint8Array(1024));
  return concatBytes(parts);
}

export function deb(
  control: Readonly<Record<string, string>>,
  data: readonly TarMember[],
  { compress = (bytes) => gzipSync(bytes), suffix = ".gz" }: {
    compress?: (tar: Uint8Array) => Uint8Array;
    suffix?: string;
  } = {},
): Uint8Array {
  const fields = Object.entries(control).map(([key, value]) => `${key}: ${value}\n`).join("");
  return ar([
    ["debian-binary", text.encode("2.0\n")],
    ["control.tar.gz", gzipSync(tar([{ path: "./control", content: fields }]))],
    [`data.tar${suffix}`, compress(tar(data))],
  ]);
}

/** An ELF file with one section besides the names. */
export function elfWithSection(name: string, content: Uint8Array): Uint8Array {
  const names = text.encode(`\0${name}\0.shstrtab\0`);
  const header = new Uint8Array(64);
  const view = new DataView(header.buffer);
  header.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  view.setUint16(16, 1, true);
  view.setUint16(18, 62, true);
  const contentAt = 64;
  const namesAt = contentAt + content.length;
  view.setBigUint64(40, BigInt(namesAt + names.length), true);
  view.setUint16(58, 64, true);
  view.setUint16(60, 3, true);
  view.setUint16(62, 2, true);
  const section = (nameAt: number, type: number, offset: number, size: number) => {
    const bytes = new Uint8Array(64);
    const fields = new DataView(bytes.buffer);
    fields.setUint32(0, nameAt, true);
    fields.setUint32(4, type, true);
    fields.setBigUint64(24, BigInt(offset), true);
    fields.setBigUint64(32, BigInt(size), true);
    return bytes;
  };
  return concatBytes([
    header,
    content,
    names,
    new Uint8Array(64),
    section(1, 1, contentAt, content.length),
    section(name.length + 2, 3, namesAt, names.length),
  ]);
}

export function kernelModule(fields: readonly string[]): Uint8Array {
  return elfWithSection(".modinfo", text.encode(fields.map((field) => `${field}\0`).join("")));
}

/** An executable with the notes given, and a dynamic loader if told so. */
export function elfExecutable(
  { machine = 62, notes = [{ name: "Xen", type: 18 }], isDynamic = false, sizeBytes = 4096 }: {
    machine?: number;
    notes?: readonly { readonly name: string; readonly type: number }[];
    isDynamic?: boolean;
    sizeBytes?: number;
  } = {},
): Uint8Array {
  const noteBytes = concatBytes(notes.map(({ name, type }) => {
    const bytes = new Uint8Array(12 + 4 * Math.ceil((name.length + 1) / 4) + 8);
    const view = new DataView(bytes.buffer);
    view.setUint32(0, name.length + 1, true);
    view.setUint32(4, 8, true);
    view.setUint32(8, type, true);
    bytes.set(text.encode(name), 12);
    return bytes;
  }));
  const bytes = new Uint8Array(sizeBytes);
  const view = new DataView(bytes.buffer);
  bytes.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  view.setUint16(16, 2, true);
  view.setUint16(18, machine, true);
  view.setBigUint64(32, 64n, true);
  view.setUint16(54, 56, true);
  view.setUint16(56, 2, true);
  const segment = (at: number, type: number, offset: number, size: number) => {
    view.setUint32(at, type, true);
    view.setBigUint64(at + 8, BigInt(offset), true);
    view.setBigUint64(at + 32, BigInt(size), true);
  };
  segment(64, isDynamic ? 3 : 1, 0, 0);
  segment(120, 4, 176, noteBytes.length);
  bytes.set(noteBytes, 176);
  // Something that compresses, yet not to nothing.
  for (let at = 176 + noteBytes.length; at < sizeBytes; at++) bytes[at] = at * at >> 7;
  return bytes;
}

/** @param payload compressed, with the unpacked size appended unless it is gzip */
export function bzImage(payload: Uint8Array): Uint8Array {
  const payloadAt = 1024 + 16;
  const image = new Uint8Array(payloadAt + payload.length);
  const view = new DataView(image.buffer);
  image[0x1f1] = 1;
  view.setUint32(0x202, 0x53726448, true);
  view.setUint16(0x206, 0x20f, true);
  view.setUint32(0x248, 16, true);
  view.setUint32(0x24c, payload.length, true);
  image.set(payload, payloadAt);
  return image;
}

export function withSize(payload: Uint8Array, sizeBytes: number): Uint8Array {
  const size = new Uint8Array(4);
  new DataView(size.buffer).setUint32(0, sizeBytes, true);
  return concatBytes([payload, size]);
}

/** The modules that every guest needs, with the dependencies that Linux has. */
export const VIRTIO_MODULES: Readonly<Record<string, readonly string[]>> = {
  "drivers/virtio/virtio_ring": ["depends=", "name=virtio_ring"],
  "drivers/virtio/virtio": ["depends=virtio_ring", "name=virtio"],
  "drivers/virtio/virtio_mmio": ["depends=virtio,virtio_ring", "alias=acpi*:LNRO0005:*", "name=virtio_mmio"],
  "drivers/block/virtio_blk": ["depends=virtio,virtio_ring", "alias=virtio:d00000002v*", "name=virtio_blk"],
  "drivers/net/virtio_net": ["depends=virtio,virtio_ring", "alias=virtio:d00000001v*", "name=virtio_net"],
  "drivers/char/virtio_console": [
    "depends=virtio,virtio_ring",
    "alias=virtio:d00000003v*",
    "name=virtio_console",
  ],
};

export const KERNEL_VERSION = "6.1.0-1-test";

/** What a kernel package holds. */
export function kernelPackageFiles(
  { prefix = "lib", vmlinuz = bzImage(gzipSync(elfExecutable())) }: {
    prefix?: string;
    vmlinuz?: Uint8Array;
  } = {},
): TarMember[] {
  const modules = `./${prefix}/modules/${KERNEL_VERSION}`;
  return [
    { path: "./", type: "5" },
    { path: `./boot/vmlinuz-${KERNEL_VERSION}`, content: vmlinuz },
    ...Object.entries(VIRTIO_MODULES).map(([path, fields]) => ({
      path: `${modules}/kernel/${path}.ko`,
      content: kernelModule(fields),
    })),
    {
      path: `${modules}/modules.order`,
      content: Object.keys(VIRTIO_MODULES).map((path) => `kernel/${path}.ko\n`).join(""),
    },
    { path: `${modules}/modules.builtin`, content: "kernel/fs/ext4/ext4.ko\nkernel/fs/binfmt_script.ko\n" },
    { path: `${modules}/modules.builtin.modinfo`, content: "ext4.alias=fs-ext4\0ext4.license=GPL\0" },
  ];
}

export const KERNEL_CONTROL = {
  Package: `linux-image-${KERNEL_VERSION}`,
  Version: "6.1.1-1",
  Architecture: "amd64",
  Maintainer: "Debian Kernel Team <debian-kernel@lists.debian.org>",
};
export const BUSYBOX_CONTROL = { Package: "busybox-static", Version: "1:1.35.0-4", Architecture: "amd64" };
