import { downloadVerified } from "../base/download.ts";
import { BangerError, reasonOf } from "../base/errors.ts";
import type { Host, Progress } from "../base/host.ts";
import type { HttpClient } from "../base/http.ts";
import { type KernelName, parseKernelName, quote } from "../base/names.ts";
import { withRollback } from "../base/steps.ts";
import { formatBytes, MIB } from "../base/units.ts";
import { AptFetcher } from "./apt.ts";
import { buildKernel } from "./build.ts";
import { unpackBundle, type Unzstd } from "./bundle.ts";
import {
  type BundleSource,
  CATALOG,
  type CatalogEntry,
  type PackageSource,
  resolvePackages,
} from "./catalog.ts";
import { openKernelDirectory, openKernelFile } from "./directory.ts";
import type { DiskBuilder } from "./disk_builder.ts";
import { withFileLock } from "./file_lock.ts";
import { initramfsRevision, initramfsScripts } from "./initramfs.ts";
import { type Kernel, kernelFiles, type KernelManifest, readManifest, writeManifest } from "./manifest.ts";
import { chooseDebs, type KernelSource } from "./sources.ts";

/** vmlinux, modules, and the modules once more while the disk is made. */
const BUILD_NEEDS_BYTES = 320 * MIB;
const STAGING_PREFIX = ".staging-";
const REPLACED_PREFIX = ".replaced-";

type StoreHost = Pick<Host, "files" | "processes" | "clock" | "log">;

/** What other rooms and the world lend to the store. */
export interface KernelStorePorts {
  readonly buildDisk: DiskBuilder;
  readonly unzstd: Unzstd;
  readonly http: HttpClient;
  /** Compiled in unless a test brings another. */
  readonly catalog?: readonly CatalogEntry[];
}

/** Files on this host that a kernel is made from. */
export type KernelOrigin =
  | { readonly debs: readonly string[] }
  | { readonly directory: string }
  | { readonly vmlinux: string };

/** The kernels below one directory. One process writes at a time per kernel; readers see whole kernels only. */
export class KernelStore {
  readonly #host: StoreHost;
  readonly #kernelsDirectory: string;
  readonly #cacheDirectory: string;
  readonly #ports: KernelStorePorts;

  /** @param places both are made when missing; what is in the cache may be deleted at any time */
  constructor(
    host: StoreHost,
    places: { readonly kernelsDirectory: string; readonly cacheDirectory: string },
    ports: KernelStorePorts,
  ) {
    this.#host = host;
    this.#kernelsDirectory = places.kernelsDirectory;
    this.#cacheDirectory = places.cacheDirectory;
    this.#ports = ports;
  }

  /** What `pull` knows: each name once, this host's where several processors have one. */
  get catalog(): readonly CatalogEntry[] {
    return this.#catalog.filter((entry) => this.#entry(entry.name) === entry);
  }

  get #catalog(): readonly CatalogEntry[] {
    return this.#ports.catalog ?? CATALOG;
  }

  /** By name. What cannot be read is left out, with a line in the log. */
  async list(): Promise<Kernel[]> {
    const kernels: Kernel[] = [];
    for (const name of await this.#host.files.list(this.#kernelsDirectory)) {
      if (name.startsWith(".")) continue;
      try {
        kernels.push(await this.#read(parseKernelName(name)));
      } catch (failure) {
        if (!(failure instanceof BangerError)) throw failure;
        this.#host.log("warn", "a kernel cannot be read", {
          name,
          code: failure.code,
          reason: failure.message,
        });
      }
    }
    return kernels;
  }

  /**
   * Its initramfs gets this build's scripts where it has another's.
   *
   * @throws {BangerError} `state_broken` where it is there but cannot be used
   */
  async find(name: KernelName): Promise<Kernel | undefined> {
    const { files } = this.#host;
    if (await files.stat(this.#directoryOf(name)) === undefined) return undefined;
    const kernel = await this.#read(name);
    return kernel.initramfsRevision === initramfsRevision() ? kernel : await this.#renewScripts(name);
  }

  /** @throws {BangerError} `not_found`; `state_broken` */
  async get(name: KernelName): Promise<Kernel> {
    const kernel = await this.find(name);
    if (kernel) return kernel;
    throw new BangerError(
      "not_found",
      `Cannot find kernel ${quote(name)}`,
      this.#entry(name)
        ? `Fetch it: banger kernel pull ${name}`
        : "See which there are: banger kernel list. Fetch one: banger kernel pull debian",
    );
  }

  /**
   * Nothing is fetched for it.
   *
   * @throws {BangerError} `not_found` where it is neither here nor in the catalog; `state_broken`
   */
  async requireObtainable(name: KernelName): Promise<void> {
    if (this.#entry(name) === undefined) await this.get(name);
  }

  /** Works on broken ones too. @throws {BangerError} `not_found` */
  async remove(name: KernelName): Promise<void> {
    const { files } = this.#host;
    const directory = this.#directoryOf(name);
    if (await files.stat(directory) === undefined) await this.get(name);
    const doomed = this.#newStagingPath();
    await files.rename(directory, doomed);
    await files.remove(doomed);
  }

  /**
   * Fetches a kernel of the catalog; one of that name that is older is replaced. What is there already is not
   * fetched again unless it is forced.
   *
   * @throws {BangerError} `not_found` for a name that the catalog lacks; `missing_tool`; `host_unsupported`;
   *   `source_unavailable`; `corrupt_data`; `no_space`; the signal's reason
   */
  async pull(
    name: KernelName,
    progress: Progress,
    signal: AbortSignal,
    { force = false }: { force?: boolean } = {},
  ): Promise<Kernel> {
    const entry = this.#entry(name);
    if (entry === undefined) {
      const names = this.catalog.map((known) => known.name);
      throw new BangerError(
        "not_found",
        `Cannot pull kernel ${quote(name)}: the catalog has none of that name`,
        `Choose from: ${names.join(", ")}; or import one: banger kernel import ${name} --deb FILE`,
      );
    }
    const { source, architecture } = entry;
    const own = this.#host.processes.architecture;
    if (architecture !== own) {
      throw new BangerError(
        "host_unsupported",
        `Cannot pull kernel ${quote(name)}: it is for ${architecture}, and this host is ${own}`,
        "See which there are: banger kernel list --available",
      );
    }
    return await this.#exclusively(name, signal, async () => {
      const present = force ? undefined : await this.#findUsable(name);
      return "package" in source
        ? await this.#pullPackage(entry, source, present, progress, signal)
        : await this.#pullBundle(entry, source, present, progress, signal);
    });
  }

  async #pullPackage(
    { name, distribution }: CatalogEntry,
    wanted: PackageSource,
    present: Kernel | undefined,
    progress: Progress,
    signal: AbortSignal,
  ): Promise<Kernel> {
    progress.stage("fetch package lists");
    const apt = new AptFetcher(this.#host, `${this.#cacheDirectory}/apt`);
    const packages = await resolvePackages(apt, wanted, signal);
    const source = `${packages.kernel.name} ${packages.kernel.version}`;
    if (present?.source === source) return present;
    progress.stage("download kernel");
    const directory = `${this.#cacheDirectory}/packages`;
    const kernelPath = await apt.download(packages.kernel, directory, progress, signal);
    const busyboxPath = await apt.download(packages.busybox, directory, progress, signal);
    const debs = await chooseDebs(this.#host, [kernelPath, busyboxPath]);
    return await this.#build(name, { ...debs, distribution, source }, progress, signal);
  }

  async #pullBundle(
    { name }: CatalogEntry,
    wanted: BundleSource,
    present: Kernel | undefined,
    progress: Progress,
    signal: AbortSignal,
  ): Promise<Kernel> {
    const { files } = this.#host;
    const source = `${wanted.url} sha256:${wanted.sha256}`;
    if (present?.source === source) return present;
    return await this.#stage(name, async (staging) => {
      progress.stage("download kernel");
      const bundlePath = `${staging}/bundle`;
      await downloadVerified({ ...this.#host, http: this.#ports.http }, wanted, bundlePath, progress, signal);
      progress.stage("unpack kernel");
      const content = `${staging}/content`;
      await files.makeDirectory(content);
      const manifest = await unpackBundle(this.#host, this.#ports.unzstd, bundlePath, content, name, signal);
      await writeManifest(files, content, { ...manifest, source });
      return content;
    }, signal);
  }

  /**
   * Makes a kernel from files of this host: from packages, from a directory, or from one file that has all drivers
   * in itself. Where the host has no static busybox, Debian's busybox-static must be among the packages.
   *
   * @throws {BangerError} `already_exists`; `invalid_argument`; `missing_tool`; `corrupt_data`; `no_space`
   */
  async import(
    name: KernelName,
    origin: KernelOrigin,
    progress: Progress,
    signal: AbortSignal,
  ): Promise<Kernel> {
    return await this.#exclusively(name, signal, async () => {
      if (await this.#host.files.stat(this.#directoryOf(name)) !== undefined) {
        throw new BangerError(
          "already_exists",
          `Cannot import kernel ${quote(name)}: there is one of that name`,
          `Choose another name, or remove that one first: banger kernel rm ${name}`,
        );
      }
      progress.stage("read kernel");
      return await this.#build(name, await this.#open(origin, progress), progress, signal);
    });
  }

  async #open(origin: KernelOrigin, progress: Progress): Promise<KernelSource> {
    if ("debs" in origin) return await chooseDebs(this.#host, origin.debs);
    if ("vmlinux" in origin) return await openKernelFile(this.#host, origin.vmlinux);
    return await openKernelDirectory(this.#host, origin.directory, (text) => progress.note(text));
  }

  /** Call on start, before anything else: finishes or removes what a crash left. */
  async cleanUp(): Promise<void> {
    const { files } = this.#host;
    for (const name of await files.list(this.#kernelsDirectory)) {
      const path = `${this.#kernelsDirectory}/${name}`;
      if (name.startsWith(REPLACED_PREFIX)) {
        const original = `${this.#kernelsDirectory}/${name.slice(REPLACED_PREFIX.length)}`;
        if (await files.stat(original) === undefined) await files.rename(path, original);
        else await files.remove(path);
      } else if (name.startsWith(STAGING_PREFIX)) await files.remove(path);
    }
  }

  #entry(name: KernelName): CatalogEntry | undefined {
    const named = this.#catalog.filter((entry) => entry.name === name);
    return named.find(({ architecture }) => architecture === this.#host.processes.architecture) ?? named[0];
  }

  #directoryOf(name: KernelName): string {
    return `${this.#kernelsDirectory}/${name}`;
  }

  #newStagingPath(): string {
    return `${this.#kernelsDirectory}/${STAGING_PREFIX}${crypto.randomUUID()}`;
  }

  async #exclusively<T>(name: KernelName, signal: AbortSignal, act: () => Promise<T>): Promise<T> {
    await this.#host.files.makeDirectory(this.#kernelsDirectory);
    return await withFileLock(this.#host, `${this.#kernelsDirectory}/.${name}.lock`, signal, act);
  }

  async #read(name: KernelName): Promise<Kernel> {
    const directory = this.#directoryOf(name);
    const { vmlinuxPath, initramfsPath, modulesDiskPath } = kernelFiles(directory);
    const manifest = await readManifest(this.#host.files, directory, name);
    return { ...manifest, directory, vmlinuxPath, initramfsPath, modulesDiskPath };
  }

  async #findUsable(name: KernelName): Promise<Kernel | undefined> {
    try {
      return await this.find(name);
    } catch (failure) {
      if (failure instanceof BangerError && failure.code === "state_broken") return undefined;
      throw failure;
    }
  }

  async #build(
    name: KernelName,
    source: KernelSource,
    progress: Progress,
    signal: AbortSignal,
  ): Promise<Kernel> {
    return await this.#stage(name, async (staging) => {
      const manifest = await buildKernel(
        this.#host,
        name,
        source,
        staging,
        this.#ports.buildDisk,
        progress,
        signal,
      );
      await writeManifest(this.#host.files, staging, manifest);
      return staging;
    }, signal);
  }

  /**
   * Makes a kernel in a directory of its own and publishes it; on failure nothing stays.
   *
   * @param make gives the finished directory: the one it was given, or one inside
   */
  async #stage(
    name: KernelName,
    make: (staging: string) => Promise<string>,
    signal: AbortSignal,
  ): Promise<Kernel> {
    const { files, log } = this.#host;
    await this.#needSpace();
    const staging = this.#newStagingPath();
    return await withRollback(async (step) => {
      await step("make staging directory", () => files.makeDirectory(staging), () => files.remove(staging));
      const finished = await make(staging);
      signal.throwIfAborted();
      await this.#publish(name, finished);
      await files.remove(staging);
      return await this.#read(name);
    }, (step, reason) => log("error", "an undo failed", { step, reason: reasonOf(reason) }));
  }

  /** Two renames where there is a kernel of that name; `cleanUp` knows what stands between them. */
  async #publish(name: KernelName, staging: string): Promise<void> {
    const { files, log } = this.#host;
    const directory = this.#directoryOf(name);
    if (await files.stat(directory) === undefined) return await files.rename(staging, directory);
    const replaced = `${this.#kernelsDirectory}/${REPLACED_PREFIX}${name}`;
    await files.remove(replaced);
    await withRollback(async (step) => {
      await step(
        "put the old kernel aside",
        () => files.rename(directory, replaced),
        () => files.rename(replaced, directory),
      );
      await files.rename(staging, directory);
    }, (step, reason) => log("error", "an undo failed", { step, reason: reasonOf(reason) }));
    await files.remove(replaced);
  }

  async #needSpace(): Promise<void> {
    const freeBytes = await this.#host.files.freeBytes(this.#kernelsDirectory);
    if (freeBytes >= BUILD_NEEDS_BYTES) return;
    throw new BangerError(
      "no_space",
      `Cannot make a kernel below ${this.#kernelsDirectory}: ${formatBytes(freeBytes)} free, ${
        formatBytes(BUILD_NEEDS_BYTES)
      } needed`,
      "Free some space, or move XDG_STATE_HOME",
    );
  }

  /** The manifest comes last: after a crash in between, this runs again, to the same end. */
  async #renewScripts(name: KernelName): Promise<Kernel> {
    const { files } = this.#host;
    return await this.#exclusively(name, new AbortController().signal, async () => {
      const kernel = await this.#read(name);
      const { directory, initramfsPath, initramfsBaseBytes } = kernel;
      const whole = await files.readBytes(initramfsPath, 256 * MIB);
      const scripts = initramfsScripts();
      const renewed = new Uint8Array(initramfsBaseBytes + scripts.length);
      renewed.set(whole.subarray(0, initramfsBaseBytes));
      renewed.set(scripts, initramfsBaseBytes);
      await files.writeAtomic(initramfsPath, renewed, 0o644);
      const kept = await readManifest(files, directory, name);
      const manifest: KernelManifest = { ...kept, initramfsRevision: initramfsRevision() };
      await writeManifest(files, directory, manifest);
      return { ...kernel, ...manifest };
    });
  }
}
