import { createHash, type Hash } from "node:crypto";
import type { Progress } from "../base/host.ts";
import type { ContentSink, DirectoryInode } from "../base/tree.ts";
import { TreeBuilder } from "../oci/replay/tree_builder.ts";
import { TarReader } from "../oci/tar/reader.ts";

/**
 * Replays one uncompressed tar of a whole root filesystem.
 *
 * @param onBytes told the sum of the bytes read so far, after each chunk
 * @returns the tree and the digest of every byte of the stream, those after the archive's end included
 * @throws {BangerError} `corrupt_data`; whatever stream and sink throw
 */
export async function replayTar(
  chunks: AsyncIterable<Uint8Array>,
  sink: ContentSink,
  onBytes: (total: number) => void,
  signal: AbortSignal,
): Promise<{ root: DirectoryInode; digest: string }> {
  const hash = createHash("sha256");
  const reader = new TarReader(hashed(chunks, hash, onBytes));
  const builder = new TreeBuilder(sink);
  try {
    // Reads to the end of the stream: what pads it belongs to its digest.
    await builder.applyArchive(reader, signal);
  } finally {
    await reader.close();
  }
  return { root: builder.root, digest: `sha256:${hash.digest("hex")}` };
}

async function* hashed(
  chunks: AsyncIterable<Uint8Array>,
  hash: Hash,
  onBytes: (total: number) => void,
): AsyncGenerator<Uint8Array, void> {
  let total = 0;
  for await (const chunk of chunks) {
    hash.update(chunk);
    total += chunk.length;
    onBytes(total);
    yield chunk;
  }
}

/** Progress in bytes that costs nothing per chunk: at most one report for each percent or 8 MiB. */
export function byteProgress(progress: Progress, expectedBytes?: number): (total: number) => void {
  const step = expectedBytes === undefined ? 8 * 1024 * 1024 : expectedBytes / 100;
  let next = 0;
  return (total) => {
    if (total < next) return;
    next = total + step;
    progress.update(total, expectedBytes === undefined ? undefined : Math.max(total, expectedBytes));
  };
}
