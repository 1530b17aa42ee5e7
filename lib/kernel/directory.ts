import { z } from "zod";
import { BangerError } from "../base/errors.ts";
import type { Files, Host } from "../base/host.ts";
import { quote } from "../base/names.ts";
import type { KernelFiles } from "./package_contents.ts";
import { findBusybox, type KernelSource } from "./sources.ts";
import type { TarEntry } from "./tar.ts";

/** In the order of preference. */
const KERNEL_NAMES = [/^vmlinux$/, /^vmlinux-.+$/, /^vmlinuz$/, /^vmlinuz-.+$/, /^bzImage$/] as const;
const INITRAMFS_NAME = /^initr(d|amfs)/;
const MAX_METADATA_BYTES = 64 * 1024;
const MAX_KERNEL_BYTES = 512 * 1024 * 1024;
const MAX_DEPTH = 16;
const MAX_FILES = 20_000;

const relativePath = z.string().regex(
  /^(?!\/)(?!.*(?:^|\/)\.\.(?:\/|$)).+$/,
  "must lie inside the directory",
);
/** `metadata.json`: all of it optional, nothing unknown in it. */
const metadataSchema = z.object({
  /** The kernel's file, compressed or not. */
  kernel: relativePath.optional(),
  /** What is to be /lib/modules/VERSION in the guest. */
  modules: relativePath.optional(),
  distribution: z.string().min(1).max(64).optional(),
  /** For people: where it comes from. */
  source: z.string().min(1).max(200).optional(),
}).strict();
type Metadata = z.infer<typeof metadataSchema>;

/**
 * A kernel in a directory: as `metadata.json` says, else by the names that builds give. Symbolic links are not
 * followed. An initramfs beside it is not used: banger's own brings a guest up.
 *
 * @throws {BangerError} `invalid_argument` where there is no kernel, or more than one to choose from; `missing_tool`
 */
export async function openKernelDirectory(
  host: Pick<Host, "files" | "processes">,
  directory: string,
  note: (text: string) => void,
): Promise<KernelSource> {
  const { files } = host;
  if ((await files.stat(directory))?.kind !== "directory") {
    throw unusable(directory, "it is no directory", "Give a directory with a vmlinux or vmlinuz in it");
  }
  const names = await files.list(directory);
  const metadata = names.includes("metadata.json") ? await readMetadata(files, directory) : {};
  const kernelPath = `${directory}/${metadata.kernel ?? chooseKernel(directory, names)}`;
  const modulesPath = metadata.modules === undefined
    ? await findModules(files, directory)
    : `${directory}/${metadata.modules}`;
  const initramfs = names.find((name) => INITRAMFS_NAME.test(name));
  if (initramfs !== undefined) note(`${initramfs} is not used: banger makes its own`);
  return {
    kernel: kernelFilesOf(files, directory, {
      kernelPath,
      modulesPath,
      configPath: names.includes("config") ? `${directory}/config` : undefined,
    }),
    busybox: await findBusybox(host, undefined),
    distribution: metadata.distribution ?? "unknown",
    source: metadata.source ?? directory,
  };
}

/** One kernel file that has all drivers in itself. @throws {BangerError} `missing_tool` */
export async function openKernelFile(
  host: Pick<Host, "files" | "processes">,
  path: string,
): Promise<KernelSource> {
  return {
    kernel: kernelFilesOf(host.files, path, {
      kernelPath: path,
      modulesPath: undefined,
      configPath: undefined,
    }),
    busybox: await findBusybox(host, undefined),
    distribution: "unknown",
    source: path,
  };
}

async function readMetadata(files: Files, directory: string): Promise<Metadata> {
  const path = `${directory}/metadata.json`;
  let value: unknown;
  try {
    value = JSON.parse(await files.readText(path, MAX_METADATA_BYTES));
  } catch (thrown) {
    if (!(thrown instanceof SyntaxError)) throw thrown;
    throw unusable(directory, "its metadata.json is no JSON", "Mend it, or remove it");
  }
  const result = metadataSchema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  const where = issue?.path.join(".");
  throw unusable(
    directory,
    `its metadata.json: ${where ? `${where}: ` : ""}${issue?.message}`,
    "It knows kernel, modules, distribution and source",
  );
}

function chooseKernel(directory: string, names: readonly string[]): string {
  for (const pattern of KERNEL_NAMES) {
    const found = names.filter((name) => pattern.test(name));
    if (found.length === 1) return found[0]!;
    if (found.length > 1) {
      throw unusable(
        directory,
        `it has more than one kernel: ${found.map(quote).join(", ")}`,
        'Say which in metadata.json: {"kernel": "…"}',
      );
    }
  }
  throw unusable(directory, "it has no kernel", "Give a directory with a vmlinux or vmlinuz in it");
}

async function findModules(files: Files, directory: string): Promise<string | undefined> {
  for (const parent of ["lib/modules", "usr/lib/modules", "modules"]) {
    const versions: string[] = [];
    for (const name of await files.list(`${directory}/${parent}`)) {
      const path = `${directory}/${parent}/${name}`;
      if (name !== "kernel" && (await files.stat(path))?.kind === "directory") versions.push(name);
    }
    if (versions.length === 1) return `${directory}/${parent}/${versions[0]}`;
    if (versions.length > 1) {
      throw unusable(
        directory,
        `it has modules for several kernels: ${versions.map(quote).join(", ")}`,
        'Say which in metadata.json: {"modules": "…"}',
      );
    }
  }
  return undefined;
}

function kernelFilesOf(
  files: Files,
  what: string,
  { kernelPath, modulesPath, configPath }: {
    readonly kernelPath: string;
    readonly modulesPath: string | undefined;
    readonly configPath: string | undefined;
  },
): KernelFiles {
  return {
    what,
    mayLackModules: true,
    async *entries() {
      yield await fileEntry(files, kernelPath, "boot/vmlinuz-given");
      if (configPath !== undefined) yield await fileEntry(files, configPath, "boot/config-given");
      if (modulesPath === undefined) return;
      const version = modulesPath.slice(modulesPath.lastIndexOf("/") + 1);
      for await (const path of walk(files, modulesPath, what)) {
        yield await fileEntry(files, `${modulesPath}/${path}`, `lib/modules/${version}/${path}`);
      }
    },
  };
}

/** Plain files below a directory, as paths relative to it. */
async function* walk(files: Files, root: string, what: string): AsyncGenerator<string> {
  const pending: { path: string; depth: number }[] = [{ path: "", depth: 0 }];
  let count = 0;
  for (let next = pending.pop(); next; next = pending.pop()) {
    for (const name of await files.list(`${root}/${next.path}`)) {
      const path = next.path === "" ? name : `${next.path}/${name}`;
      const kind = (await files.stat(`${root}/${path}`))?.kind;
      if (++count > MAX_FILES) {
        throw unusable(what, `it has more than ${MAX_FILES} files`, "Give a smaller one");
      }
      if (kind === "directory" && next.depth < MAX_DEPTH) pending.push({ path, depth: next.depth + 1 });
      if (kind === "file") yield path;
    }
  }
}

async function fileEntry(files: Files, path: string, name: string): Promise<TarEntry> {
  const stat = await files.stat(path);
  if (stat?.kind !== "file") {
    throw unusable(path, "it is no file", "Symbolic links are not followed: name the file itself");
  }
  return {
    path: name,
    kind: "file",
    sizeBytes: stat.sizeBytes,
    mode: stat.mode & 0o7777,
    read: (maxBytes) => files.readBytes(path, Math.min(maxBytes, MAX_KERNEL_BYTES)),
    stream: () => files.readStream(path),
  };
}

function unusable(path: string, why: string, hint: string): BangerError {
  return new BangerError("invalid_argument", `Cannot use ${quote(path)} as a kernel: ${why}`, hint);
}
