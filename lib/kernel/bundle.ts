import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { BangerError } from "../base/errors.ts";
import type { Files, Host } from "../base/host.ts";
import { type KernelName, quote } from "../base/names.ts";
import { GIB, MIB } from "../base/units.ts";
import { ByteReader } from "./byte_reader.ts";
import { kernelFiles, type KernelManifest, readManifest } from "./manifest.ts";
import { readTar, type TarEntry } from "./tar.ts";
import { requireBootable } from "./vmlinux.ts";

/** Decompresses zstd as it streams. Wired from the room that has a decoder. */
export type Unzstd = (input: AsyncIterable<Uint8Array>) => AsyncIterable<Uint8Array>;

/** What a bundle holds, and nothing else: the files of a store entry. Order does not matter. */
const MEMBERS: Readonly<Record<string, { readonly maxBytes: number }>> = {
  "manifest.json": { maxBytes: 64 * 1024 },
  "vmlinux": { maxBytes: 512 * MIB },
  "initramfs.cpio": { maxBytes: 256 * MIB },
  "modules.ext4": { maxBytes: 2 * GIB },
};
const ZEROS = new Uint8Array(64 * 1024);

/**
 * Unpacks a bundle into an empty directory. Only the four known names are taken, only as plain files, each once:
 * a member of another kind or name refuses the whole.
 *
 * @param name that the manifest must have
 * @returns its manifest
 * @throws {BangerError} `corrupt_data`; the signal's reason
 */
export async function unpackBundle(
  { files, processes: { architecture } }: Pick<Host, "files" | "processes">,
  unzstd: Unzstd,
  bundlePath: string,
  directory: string,
  name: KernelName,
  signal: AbortSignal,
): Promise<KernelManifest> {
  const what = `the bundle of kernel ${name}`;
  const seen = new Set<string>();
  const input = new ByteReader(unzstd(files.readStream(bundlePath)), what);
  let vmlinuxSha256 = "";
  try {
    for await (const entry of readTar(input, what)) {
      signal.throwIfAborted();
      if (entry.kind === "directory" && entry.path === "") continue;
      const limits = entry.kind === "file" ? MEMBERS[entry.path] : undefined;
      if (!limits || seen.has(entry.path)) throw unexpected(what, entry);
      if (entry.sizeBytes > limits.maxBytes) {
        throw corrupt(what, `${quote(entry.path)} has ${entry.sizeBytes} bytes`);
      }
      seen.add(entry.path);
      const sha256 = await writeMember(files, entry, `${directory}/${entry.path}`, signal);
      if (entry.path === "vmlinux") vmlinuxSha256 = sha256;
    }
  } finally {
    await input.close();
  }
  const missing = Object.keys(MEMBERS).find((member) => !seen.has(member));
  if (missing !== undefined) throw corrupt(what, `it has no ${missing}`);
  const manifest = await readBundled(files, directory, name, what);
  if (manifest.sha256 !== vmlinuxSha256) {
    throw corrupt(what, "its kernel is not the one that its manifest speaks of");
  }
  await using vmlinux = await files.open(kernelFiles(directory).vmlinuxPath, { read: true });
  await requireBootable(vmlinux, architecture);
  return manifest;
}

async function readBundled(files: Files, directory: string, name: KernelName, what: string) {
  try {
    return await readManifest(files, directory, name);
  } catch (thrown) {
    if (!(thrown instanceof BangerError) || thrown.code !== "state_broken") throw thrown;
    throw corrupt(what, "its manifest is not that of the kernel that was asked for");
  }
}

/** Holes are kept: a modules disk is mostly empty. */
async function writeMember(
  files: Files,
  entry: TarEntry,
  path: string,
  signal: AbortSignal,
): Promise<string> {
  const hash = createHash("sha256");
  await using file = await files.open(path, { write: true, createNew: true, mode: 0o644 });
  let at = 0;
  for await (const chunk of entry.stream()) {
    signal.throwIfAborted();
    hash.update(chunk);
    if (!isZero(chunk)) await file.writeAt(chunk, at);
    at += chunk.length;
  }
  await file.truncate(at);
  await file.sync();
  return hash.digest("hex");
}

function isZero(chunk: Uint8Array): boolean {
  for (let at = 0; at < chunk.length; at += ZEROS.length) {
    const piece = chunk.subarray(at, at + ZEROS.length);
    if (Buffer.compare(piece, ZEROS.subarray(0, piece.length)) !== 0) return false;
  }
  return true;
}

function unexpected(what: string, { kind, path }: TarEntry): BangerError {
  return corrupt(what, `it has a ${kind} ${quote(path)}, which does not belong there`);
}

function corrupt(what: string, why: string): BangerError {
  return new BangerError(
    "corrupt_data",
    `Cannot use ${what}: ${why}`,
    "Nothing of it was kept. Tell whoever published it",
  );
}
