import { BangerError } from "../base/errors.ts";
import type { Files } from "../base/host.ts";
import { type KernelName, parseKernelName, quote } from "../base/names.ts";

/** What is known of a stored kernel: `manifest.json` in its directory. */
export interface KernelManifest {
  readonly name: KernelName;
  /** `debian`, or `unknown` for packages of others. */
  readonly distribution: string;
  /** As `uname -m`. */
  readonly architecture: string;
  /** As `uname -r`; the name of its directory below /lib/modules. */
  readonly version: string;
  /** Of vmlinux, hexadecimal. */
  readonly sha256: string;
  /** The package with its version. */
  readonly source: string;
  /** ISO 8601 */
  readonly createdAt: string;
  /** Bytes of the initramfs that come from packages; banger's scripts follow. */
  readonly initramfsBaseBytes: number;
  /** Which scripts follow: `initramfsRevision`. */
  readonly initramfsRevision: string;
  /** Timer ticks a second, where it is known: what a guest's delays are counted in. */
  readonly timerHz?: number;
}

/** A stored kernel. */
export interface Kernel extends KernelManifest {
  readonly directory: string;
  /** Uncompressed ELF with a PVH entry point. */
  readonly vmlinuxPath: string;
  readonly initramfsPath: string;
  /** ext4: the content of /lib/modules/VERSION. */
  readonly modulesDiskPath: string;
}

const MAX_MANIFEST_BYTES = 64 * 1024;
const TEXTS = [
  "distribution",
  "architecture",
  "version",
  "sha256",
  "source",
  "createdAt",
  "initramfsRevision",
] as const;

export function kernelFiles(directory: string) {
  return {
    manifestPath: `${directory}/manifest.json`,
    vmlinuxPath: `${directory}/vmlinux`,
    initramfsPath: `${directory}/initramfs.cpio`,
    modulesDiskPath: `${directory}/modules.ext4`,
  } as const;
}

/**
 * @param name of the directory, which the manifest must agree with
 * @throws {BangerError} `state_broken`
 */
export async function readManifest(
  files: Files,
  directory: string,
  name: KernelName,
): Promise<KernelManifest> {
  const { manifestPath } = kernelFiles(directory);
  if (await files.stat(manifestPath) === undefined) throw broken(name, "its manifest is missing");
  const text = await files.readText(manifestPath, MAX_MANIFEST_BYTES);
  const manifest = parseManifest(text);
  if (manifest === undefined || manifest.name !== name) throw broken(name, `${manifestPath} is damaged`);
  return manifest;
}

export async function writeManifest(
  files: Files,
  directory: string,
  manifest: KernelManifest,
): Promise<void> {
  await files.writeAtomic(
    kernelFiles(directory).manifestPath,
    `${JSON.stringify(manifest, null, 2)}\n`,
    0o644,
  );
}

function parseManifest(text: string): KernelManifest | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (thrown) {
    if (thrown instanceof SyntaxError) return undefined;
    throw thrown;
  }
  if (typeof value !== "object" || value === null) return undefined;
  const fields = value as Record<string, unknown>;
  const { name, initramfsBaseBytes, timerHz } = fields;
  if (typeof name !== "string" || !Number.isSafeInteger(initramfsBaseBytes)) return undefined;
  if (!TEXTS.every((key) => typeof fields[key] === "string")) return undefined;
  if (timerHz !== undefined && !Number.isSafeInteger(timerHz)) return undefined;
  const texts = Object.fromEntries(TEXTS.map((key) => [key, fields[key]])) as Record<
    typeof TEXTS[number],
    string
  >;
  return {
    name: parseKernelName(name),
    ...texts,
    initramfsBaseBytes: Number(initramfsBaseBytes),
    ...(timerHz === undefined ? {} : { timerHz: Number(timerHz) }),
  };
}

function broken(name: KernelName, why: string): BangerError {
  return new BangerError(
    "state_broken",
    `Cannot use kernel ${quote(name)}: ${why}`,
    `Remove it and get it again: banger kernel rm ${name}`,
  );
}
