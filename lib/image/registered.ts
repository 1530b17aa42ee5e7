import { BangerError } from "../base/errors.ts";
import type { Files, Host, Progress } from "../base/host.ts";
import { type ImageName, quote } from "../base/names.ts";
import { byteStringOfText, type DirectoryInode } from "../base/tree.ts";
import { lookup } from "../base/tree_paths.ts";
import { openFilesystem } from "../ext4/mod.ts";
import { Digester } from "../oci/model/digest.ts";
import type { ImageTable } from "../store/image_table.ts";
import { imagePaths, type Paths } from "../store/paths.ts";
import { requireUnchanged, statDisk } from "../store/registered_disk.ts";
import type { ImageRecord } from "../store/records.ts";
import { contentBytesOf } from "./convert.ts";
import { detectTraits } from "./detect.ts";
import { type Publisher, writeImageRecord } from "./publish.ts";
import { PLAIN_CONFIG } from "./root_source.ts";

const AGENT_PATH = "/usr/local/bin/banger-vsock-agent";

export interface RegisterOptions {
  readonly name: ImageName;
  /** Absolute. */
  readonly rootfs: string;
  readonly kernel?: string;
}

/**
 * Takes a root disk of the user's as an image, where it lies. Its machines write to disks of their own.
 *
 * @throws {BangerError} `not_found`; `corrupt_data`, `wrong_state`, `host_unsupported` for what is no ext4 that
 * can be read; `invalid_argument` for one without banger's agent; `already_exists`; the signal's reason
 */
export async function registerImage(
  host: Pick<Host, "files">,
  publisher: Publisher,
  { name, rootfs, kernel }: RegisterOptions,
  progress: Progress,
  signal: AbortSignal,
): Promise<ImageRecord> {
  const { files } = host;
  return await publisher.publish(name, signal, async () => {
    const { sizeBytes, mtimeMs } = await statDisk(files, rootfs);
    progress.stage("Read the file system");
    const root = await readTree(files, rootfs);
    requireAgent(root, rootfs);
    signal.throwIfAborted();
    progress.stage("Take its digest");
    const digest = await digestOfDisk(files, rootfs, sizeBytes, progress, signal);
    return {
      source: `file:${rootfs}`,
      digest,
      sizeBytes,
      contentBytes: contentBytesOf(root),
      ...detectTraits(root),
      agentBuild: "unknown",
      config: PLAIN_CONFIG,
      external: { path: rootfs, mtimeMs },
      ...(kernel === undefined ? {} : { kernel }),
    };
  });
}

/**
 * Copies a registered image's disk, holes kept, to where banger's own images are. Its machines stay as they are.
 *
 * @throws {BangerError} `wrong_state` for an image that is banger's own, or a disk that was changed; `no_space`
 */
export async function promoteImage(
  { files, log }: Pick<Host, "files" | "log">,
  { paths, images }: {
    readonly paths: Pick<Paths, "imagesDirectory">;
    readonly images: Pick<ImageTable, "update">;
  },
  image: ImageRecord,
  progress: Progress,
  signal: AbortSignal,
): Promise<ImageRecord> {
  const { external, ...rest } = image;
  if (external === undefined) {
    throw new BangerError("wrong_state", `Cannot promote image ${image.name}: it is banger's own already`);
  }
  await requireUnchanged(files, image);
  const target = imagePaths(paths, image.id);
  const partial = `${target.rootfs}.partial`;
  progress.stage("Copy the disk");
  await files.remove(partial);
  try {
    if (!(await files.reflink(external.path, partial))) await files.copySparse(external.path, partial);
    signal.throwIfAborted();
    // A write while it was copied would have left a mixture.
    await requireUnchanged(files, image);
    await files.rename(partial, target.rootfs);
  } catch (failure) {
    await files.remove(partial);
    throw failure;
  }
  await writeImageRecord(files, target.record, rest);
  images.update(rest);
  log("info", "image promoted", { id: image.id, name: image.name, from: external.path });
  return rest;
}

async function readTree(files: Pick<Files, "open">, path: string): Promise<DirectoryInode> {
  await using disk = await files.open(path, { read: true });
  return await (await openFilesystem(disk)).readTree();
}

function requireAgent(root: DirectoryInode, path: string): void {
  if (lookup(root, byteStringOfText(AGENT_PATH))?.kind === "file") return;
  throw new BangerError(
    "invalid_argument",
    `Cannot register ${quote(path)}: banger's agent is not in it, so nobody could reach its machines`,
    "Make an image of a tar of its files, which gets the agent: banger image pull tar:FILE",
  );
}

/** Of the whole file, holes as zeros. */
export async function digestOfDisk(
  files: Pick<Files, "readStream">,
  path: string,
  sizeBytes: number,
  progress: Progress,
  signal: AbortSignal,
): Promise<string> {
  const digester = new Digester();
  let done = 0;
  for await (const chunk of files.readStream(path)) {
    signal.throwIfAborted();
    digester.update(chunk);
    progress.update(done += chunk.length, sizeBytes);
  }
  return digester.digest();
}
