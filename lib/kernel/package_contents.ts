import { BangerError } from "../base/errors.ts";
import type { Files, RandomAccessFile } from "../base/host.ts";
import { quote } from "../base/names.ts";
import { type DebFile, readDebData } from "./deb.ts";
import { kernelImageVersion } from "./image_version.ts";
import type { TarEntry } from "./tar.ts";
import type { ModuleLists } from "./module_files.ts";
import { isModulePath, type ModuleInfo, parseModule, unpackModule } from "./modules.ts";

const MAX_VMLINUZ_BYTES = 512 * 1024 * 1024;
const MAX_MODULE_FILE_BYTES = 64 * 1024 * 1024;
const MAX_LIST_BYTES = 8 * 1024 * 1024;
const MAX_CONFIG_BYTES = 2 * 1024 * 1024;
const MAX_BUSYBOX_BYTES = 16 * 1024 * 1024;
/** Debian's full kernel has some 4,000. */
const MAX_MODULES = 8192;

/** Merged /usr or not: both `lib/modules` and `usr/lib/modules`. */
const MODULES_PATH = /^(?:usr\/)?lib\/modules\/([^/]+)\/(.+)$/;
const VMLINUZ_PATH = /^(?:boot\/vmlinuz-[^/]+|(?:usr\/)?lib\/modules\/[^/]+\/vmlinuz)$/;
/** What it was built with, where the package says. */
const CONFIG_PATH = /^boot\/config-[^/]+$/;
/** As `uname -r` prints them; it names a directory in the guest. */
const KERNEL_VERSION = /^[A-Za-z0-9][A-Za-z0-9._+~-]{0,63}$/;

/** Where a module's file, as the package has it, lies in the spool. */
interface SpooledFile {
  readonly path: string;
  readonly offsetBytes: number;
  readonly sizeBytes: number;
}

export type SpooledModule = ModuleInfo & SpooledFile;

/** The files of a kernel under the paths that a distribution's package gives them, wherever they come from. */
export interface KernelFiles {
  /** Names them in errors: the path of a package or of a directory. */
  readonly what: string;
  /** Whether a kernel without modules will do: one that has all drivers in itself. */
  readonly mayLackModules?: boolean;
  entries(): AsyncIterable<TarEntry>;
}

/** What a kernel is taken apart into. */
export interface KernelPackage {
  /** As `uname -r`. */
  readonly version: string;
  readonly vmlinuz: Uint8Array;
  /** Timer ticks a second (CONFIG_HZ), where the package says. */
  readonly timerHz?: number;
  readonly modules: readonly SpooledModule[];
  readonly lists: ModuleLists;
}

/**
 * Reads a kernel's files in one pass. Modules go one after another into `spool`, since which of them belong
 * into the initramfs is known only after the last one.
 *
 * @param signal checked between members
 * @throws {BangerError} `corrupt_data`
 */
export async function readKernelPackage(
  kernelFiles: KernelFiles,
  spool: RandomAccessFile,
  signal: AbortSignal,
): Promise<KernelPackage> {
  const collected = new Collected(kernelFiles, spool);
  for await (const entry of kernelFiles.entries()) {
    signal.throwIfAborted();
    if (entry.kind === "file") await collected.add(entry);
  }
  return await collected.finish(signal);
}

/** @returns the uncompressed module */
export async function readSpooledModule(spool: RandomAccessFile, file: SpooledFile): Promise<Uint8Array> {
  const bytes = new Uint8Array(file.sizeBytes);
  await spool.readAt(bytes, file.offsetBytes);
  return await unpackModule(file.path, bytes);
}

class Collected {
  readonly #what: string;
  readonly #mayLackModules: boolean;
  readonly #spool: RandomAccessFile;
  #spooledBytes = 0;
  #version: string | undefined;
  #vmlinuz: Uint8Array | undefined;
  #timerHz: number | undefined;
  readonly #modules: SpooledFile[] = [];
  readonly #lists: { -readonly [name in keyof ModuleLists]: string } = {
    order: "",
    builtin: "",
    builtinModinfo: "",
  };

  constructor({ what, mayLackModules = false }: KernelFiles, spool: RandomAccessFile) {
    this.#what = what;
    this.#mayLackModules = mayLackModules;
    this.#spool = spool;
  }

  async add(entry: TarEntry): Promise<void> {
    if (VMLINUZ_PATH.test(entry.path)) {
      this.#vmlinuz = await entry.read(MAX_VMLINUZ_BYTES);
      return;
    }
    if (CONFIG_PATH.test(entry.path)) {
      this.#timerHz = timerFrequency(new TextDecoder().decode(await entry.read(MAX_CONFIG_BYTES)));
      return;
    }
    const [, version, path] = MODULES_PATH.exec(entry.path) ?? [];
    if (version === undefined || path === undefined) return;
    if (!KERNEL_VERSION.test(version)) throw broken(this.#what, `${quote(version)} is no kernel version`);
    if (version !== (this.#version ??= version)) throw broken(this.#what, "it has modules for two kernels");
    if (isModulePath(path)) await this.#addModule(path, entry);
    else await this.#addList(path, entry);
  }

  async #addModule(path: string, entry: TarEntry): Promise<void> {
    if (this.#modules.length === MAX_MODULES) {
      throw broken(this.#what, `it has more than ${MAX_MODULES} modules`);
    }
    const bytes = await entry.read(MAX_MODULE_FILE_BYTES);
    await this.#spool.writeAt(bytes, this.#spooledBytes);
    this.#modules.push({ path, offsetBytes: this.#spooledBytes, sizeBytes: bytes.length });
    this.#spooledBytes += bytes.length;
  }

  async #addList(path: string, entry: TarEntry): Promise<void> {
    const text = async () => new TextDecoder().decode(await entry.read(MAX_LIST_BYTES));
    if (path === "modules.order") this.#lists.order = await text();
    if (path === "modules.builtin") this.#lists.builtin = await text();
    if (path === "modules.builtin.modinfo") this.#lists.builtinModinfo = await text();
  }

  async finish(signal: AbortSignal): Promise<KernelPackage> {
    if (this.#mayLackModules && this.#vmlinuz) this.#version ??= kernelImageVersion(this.#vmlinuz);
    const missing = this.#vmlinuz === undefined
      ? "kernel image"
      : this.#version === undefined
      ? "modules"
      : "";
    if (missing !== "") {
      throw new BangerError(
        "invalid_argument",
        `Cannot use ${quote(this.#what)} as a kernel package: it has no ${missing}`,
        "Use a package that holds a kernel, such as Debian's linux-image-…-cloud package",
      );
    }
    // Not while the package is being read: the xz decoder serves one stream at a time, and both may need it.
    const modules: SpooledModule[] = [];
    for (const file of this.#modules) {
      signal.throwIfAborted();
      modules.push({ ...file, ...parseModule(file.path, await readSpooledModule(this.#spool, file)) });
    }
    return {
      version: this.#version!,
      vmlinuz: this.#vmlinuz!,
      ...(this.#timerHz === undefined ? {} : { timerHz: this.#timerHz }),
      modules,
      lists: this.#lists,
    };
  }
}

/**
 * The busybox of a package that has it at /bin/busybox.
 *
 * @returns undefined where the package has none
 */
export async function readBusybox(
  { files }: { files: Files },
  deb: DebFile,
): Promise<Uint8Array | undefined> {
  for await (const entry of readDebData({ files }, deb)) {
    if (entry.kind === "file" && /^(usr\/)?bin\/busybox$/.test(entry.path)) {
      return await entry.read(MAX_BUSYBOX_BYTES);
    }
  }
  return undefined;
}

/** @param config as the kernel's build leaves it */
function timerFrequency(config: string): number | undefined {
  const [, hz] = /^CONFIG_HZ=([1-9][0-9]{1,3})$/m.exec(config) ?? [];
  return hz === undefined ? undefined : Number(hz);
}

function broken(what: string, why: string): BangerError {
  return new BangerError(
    "corrupt_data",
    `Cannot use ${quote(what)} as a kernel package: ${why}`,
    "Fetch the package again",
  );
}
