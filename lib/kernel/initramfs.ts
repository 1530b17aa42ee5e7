import { createHash } from "node:crypto";
import { BangerError } from "../base/errors.ts";
import { type CpioEntry, writeCpio } from "./cpio.ts";
import type { ModuleGraph, ModuleInfo } from "./modules.ts";
import { INIT_APPLETS, SCRIPTS } from "./scripts.ts";

/** In the order that `/init` loads them, `pci` only where there is such a bus. */
const WANTED = {
  disks: ["virtio_mmio", "virtio_blk", "crc32c_generic", "ext4"],
  pci: ["virtio_pci"],
  others: ["virtio_net", "virtio_console", "vmw_vsock_virtio_transport", "virtio_rng"],
} as const;
/** Without these there is no root disk, or nobody to talk to. */
const REQUIRED = ["virtio_mmio", "virtio_blk", "ext4", "virtio_net", "virtio_console"] as const;

type ModuleList = keyof typeof WANTED;

/**
 * What a guest needs before its own root filesystem is there, or what nobody else would load. Each list is in
 * the order to load it in, and names nothing that a list before it, which is always loaded, has too.
 */
export type InitramfsModules = Readonly<Record<ModuleList, readonly ModuleInfo[]>>;

/**
 * @param builtin names of the modules in modules.builtin; undefined where nothing is known of them
 * @throws {BangerError} `host_unsupported` where the kernel lacks a driver that every guest needs
 */
export function chooseInitramfsModules(
  graph: ModuleGraph,
  builtin: ReadonlySet<string> | undefined,
): InitramfsModules {
  for (const name of REQUIRED) {
    if (!builtin || graph.find(name) || builtin.has(name)) continue;
    throw new BangerError(
      "host_unsupported",
      `Cannot use this kernel: it has no ${name} driver`,
      "Use a kernel for virtual machines, such as Debian's linux-image-cloud package",
    );
  }
  const inLoadOrder = (list: ModuleList) =>
    graph.loadOrder(WANTED[list].filter((name) => graph.find(name) !== undefined));
  const disks = inLoadOrder("disks");
  const withoutDisks = (modules: readonly ModuleInfo[]) =>
    modules.filter((module) => !disks.includes(module));
  return { disks, pci: withoutDisks(inLoadOrder("pci")), others: withoutDisks(inLoadOrder("others")) };
}

/**
 * The part of an initramfs that comes from packages: busybox and modules. It is not compressed: to unpack
 * would take longer than to read.
 *
 * @param readModule the uncompressed module
 */
export async function initramfsBase(
  busybox: Uint8Array,
  modules: InitramfsModules,
  readModule: (module: ModuleInfo) => Promise<Uint8Array>,
): Promise<Uint8Array<ArrayBuffer>> {
  const directories = ["bin", "dev", "proc", "sys", "sysroot", "modules"];
  const entries: CpioEntry[] = directories.map((path) => ({ kind: "directory", path, mode: 0o755 }));
  entries.push(
    { kind: "character-device", path: "dev/console", mode: 0o600, major: 5, minor: 1 },
    { kind: "character-device", path: "dev/null", mode: 0o666, major: 1, minor: 3 },
    { kind: "file", path: "bin/busybox", mode: 0o755, content: busybox },
  );
  for (const applet of INIT_APPLETS) {
    entries.push({ kind: "symlink", path: `bin/${applet}`, target: "busybox" });
  }
  const unique = new Map(Object.values(modules).flat().map((module) => [module.name, module]));
  for (const [name, module] of unique) {
    entries.push({ kind: "file", path: `modules/${name}`, mode: 0o644, content: await readModule(module) });
  }
  for (const [list, members] of Object.entries(modules)) {
    const content = members.map(({ name }) => `${name}\n`).join("");
    entries.push({
      kind: "file",
      path: `modules/${list}.list`,
      mode: 0o644,
      content: new TextEncoder().encode(content),
    });
  }
  return writeCpio(entries);
}

/**
 * The part that is banger's own: the scripts. It follows the base in the same file (the kernel unpacks one
 * archive after another), so that a newer banger replaces it without the packages.
 */
export function initramfsScripts(): Uint8Array<ArrayBuffer> {
  const file = (path: string, mode: number, text: string): CpioEntry => ({
    kind: "file",
    path,
    mode,
    content: new TextEncoder().encode(text),
  });
  return writeCpio([
    file("init", 0o755, SCRIPTS.init),
    { kind: "directory", path: "guest", mode: 0o755 },
    { kind: "directory", path: "guest/bin", mode: 0o755 },
    ...Object.entries(SCRIPTS.guest).map(([path, text]) =>
      file(`guest/${path}`, path.startsWith("bin/") ? 0o755 : 0o644, text)
    ),
  ]);
}

/** Tells versions of `initramfsScripts` apart. */
export function initramfsRevision(): string {
  return createHash("sha256").update(initramfsScripts()).digest("hex").slice(0, 16);
}
