import type { Progress } from "../base/host.ts";
import type { ContentSink, DirectoryInode, Timestamp } from "../base/tree.ts";
import type { ImageConfig } from "../store/records.ts";

/** A root filesystem as its source gives it, before banger's own files. */
export interface FilledRoot {
  readonly root: DirectoryInode;
  /** Of the source's bytes, `sha256:…`. */
  readonly digest: string;
  readonly config: ImageConfig;
}

/** Whatever a disk can be made from: a tar, a recipe, the layers of an OCI image. */
export interface RootSource {
  /** As `image show` says it: `recipe:debian-bookworm`. */
  readonly source: string;
  /**
   * What the filesystem's UUID derives from: a digest where it is known before the first byte, else the
   * source's name. The same seed and the same content give the same disk.
   */
  readonly seed: string;
  /** All times of the superblock. */
  readonly timestamp: Timestamp;
  /** Of the disk as a VM sees it; a size that fits the content where absent. */
  readonly sizeBytes?: number;
  /** Replays the source into a tree, file contents into `sink`, in one pass. */
  fill(sink: ContentSink, progress: Progress, signal: AbortSignal): Promise<FilledRoot>;
}

/** What an archive without a configuration of its own runs as. */
export const PLAIN_CONFIG: ImageConfig = {
  user: "root",
  environment: { PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" },
  workingDirectory: "/root",
  entrypoint: [],
  command: [],
};
