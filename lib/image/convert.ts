import type { Host, Progress } from "../base/host.ts";
import { uuidFromSeed } from "../base/uuid.ts";
import type { DirectoryInode, FileInode } from "../base/tree.ts";
import { FilesystemWriter } from "../ext4/writer.ts";
import { type AgentBinary, injectGuestFiles } from "../guest/files/inject.ts";
import type { ImageRecord } from "../store/records.ts";
import { findAgentRuntime } from "./agent_runtime.ts";
import { detectTraits } from "./detect.ts";
import type { RootSource } from "./root_source.ts";

/** The agent that goes into images, and which build it is. */
export interface Agent extends AgentBinary {
  readonly buildId: string;
}

/** What conversion finds out about the image. */
export type ConvertedImage = Pick<
  ImageRecord,
  | "source"
  | "digest"
  | "sizeBytes"
  | "contentBytes"
  | "init"
  | "libc"
  | "hasSshServer"
  | "agentBuild"
  | "config"
>;

/** Guests only read an image; a machine's writes go to its own disk. */
const IMAGE_MODE = 0o444;

/**
 * Makes a root disk: the source is replayed into a tree while its file contents flow into the new file,
 * banger's own files are added, the filesystem's metadata comes last. One pass, nothing extracted. The same
 * bytes of the source and the same agent give the same bytes of the disk.
 *
 * @param path of the new file; a failure leaves it behind, half-written
 * @throws {BangerError} `already_exists` where the file is, and whatever source and disk throw
 */
export async function convertToDisk(
  { files }: Pick<Host, "files">,
  source: RootSource,
  path: string,
  agent: Agent,
  progress: Progress,
  signal: AbortSignal,
): Promise<ConvertedImage> {
  await using file = await files.open(path, {
    read: true,
    write: true,
    createNew: true,
    mode: IMAGE_MODE,
    writesOut: true,
  });
  await using writer = await FilesystemWriter.create(file, {
    uuid: uuidFromSeed(`banger image ${source.seed}`),
    label: "banger-root",
    timestamp: source.timestamp,
    ...(source.sizeBytes === undefined ? {} : { sizeBytes: source.sizeBytes }),
  });
  const { root, digest, config } = await source.fill(writer, progress, signal);
  signal.throwIfAborted();
  const traits = detectTraits(root);
  progress.stage("Add banger's guest files");
  await injectGuestFiles(root, writer, agent, await findAgentRuntime(files, root, traits, agent));
  progress.stage("Write the file system's metadata");
  const { sizeBytes } = await writer.finish(root);
  signal.throwIfAborted();
  await file.sync();
  return {
    source: source.source,
    digest,
    sizeBytes,
    contentBytes: contentBytesOf(root),
    ...traits,
    agentBuild: agent.buildId,
    config,
  };
}

/** The sum of all files, hard links counted once. */
export function contentBytesOf(root: DirectoryInode): number {
  const counted = new Set<FileInode>();
  const pending = [root];
  for (let directory = pending.pop(); directory; directory = pending.pop()) {
    for (const inode of directory.entries.values()) {
      if (inode.kind === "directory") pending.push(inode);
      else if (inode.kind === "file") counted.add(inode);
    }
  }
  let sum = 0;
  for (const file of counted) sum += file.content.sizeBytes;
  return sum;
}
