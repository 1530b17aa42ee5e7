import { ARCHITECTURES } from "../base/architecture.ts";
import { BangerError } from "../base/errors.ts";
import type { Files, Host } from "../base/host.ts";
import { quote } from "../base/names.ts";
import { type DebFile, openDeb, readDebData } from "./deb.ts";
import { readElfExecutable } from "./elf.ts";
import { type KernelFiles, readBusybox } from "./package_contents.ts";

const MAX_BUSYBOX_BYTES = 16 * 1024 * 1024;

/** What a kernel is made from. */
export interface KernelSource {
  readonly kernel: KernelFiles;
  /** The statically linked executable. */
  readonly busybox: Uint8Array;
  readonly distribution: string;
  /** For people: the package and its version. */
  readonly source: string;
}

/**
 * Tells the kernel package from the busybox package, in whatever order they come.
 *
 * @throws {BangerError} `invalid_argument`; `host_unsupported`; `missing_tool`; `corrupt_data`
 */
export async function chooseDebs(
  host: Pick<Host, "files" | "processes">,
  paths: readonly string[],
): Promise<KernelSource> {
  const debs: DebFile[] = [];
  for (const path of paths) debs.push(await openDeb(host, path));
  const isBusybox = (deb: DebFile) => deb.control.get("Package")?.startsWith("busybox") === true;
  const kernels = debs.filter((deb) => !isBusybox(deb));
  const [kernel] = kernels;
  if (kernel === undefined || kernels.length > 1) {
    throw new BangerError(
      "invalid_argument",
      `Cannot make a kernel from ${paths.length} files: ${kernels.length} of them are kernel packages`,
      "Give one linux-image package, and busybox-static's if the host has no static busybox",
    );
  }
  const architecture = kernel.control.get("Architecture") ?? "";
  const { debianName } = ARCHITECTURES[host.processes.architecture];
  if (architecture !== debianName) {
    throw new BangerError(
      "host_unsupported",
      `Cannot use ${quote(kernel.path)}: it is for ${quote(architecture)}`,
      `Use a kernel package for ${debianName}`,
    );
  }
  const name = kernel.control.get("Package") ?? "unknown package";
  return {
    kernel: { what: kernel.path, entries: () => readDebData(host, kernel) },
    busybox: await findBusybox(host, debs.find(isBusybox)),
    distribution: /debian/i.test(kernel.control.get("Maintainer") ?? "") ? "debian" : "unknown",
    source: `${name} ${kernel.control.get("Version") ?? ""}`.trim(),
  };
}

/** From a package, else the host's own. @throws {BangerError} `missing_tool`, `invalid_argument` */
export async function findBusybox(
  host: Pick<Host, "files" | "processes">,
  deb: DebFile | undefined,
): Promise<Uint8Array> {
  if (deb !== undefined) {
    const busybox = await readBusybox(host, deb);
    if (busybox) return busybox;
    throw new BangerError(
      "invalid_argument",
      `Cannot use ${quote(deb.path)}: it has no /bin/busybox`,
      "Use Debian's busybox-static",
    );
  }
  const path = await host.processes.which("busybox");
  if (path !== undefined && await isStatic(host.files, path)) {
    return await host.files.readBytes(path, MAX_BUSYBOX_BYTES);
  }
  throw new BangerError(
    "missing_tool",
    "Cannot make an initramfs: this host has no statically linked busybox",
    "Install busybox-static, or give its package too: --deb busybox-static_*.deb",
  );
}

async function isStatic(files: Files, path: string): Promise<boolean> {
  await using file = await files.open(path, { read: true });
  return !(await readElfExecutable(file, path)).isDynamic;
}
