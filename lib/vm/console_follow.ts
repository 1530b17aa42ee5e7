import type { Clock, Files, RandomAccessFile } from "../base/host.ts";

const POLL_MS = 150;
const CHUNK_BYTES = 64 * 1024;

/**
 * A console's output from now on, over the log's turns from one segment to the next.
 *
 * @param isOver whether nothing will be written any more; asked after all there was has been read
 */
export async function* followConsole(
  { files, clock }: { files: Pick<Files, "open" | "stat">; clock: Pick<Clock, "sleep"> },
  path: string,
  isOver: () => boolean,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  let segment = await openIfThere(files, path);
  let atBytes = await segment?.sizeBytes() ?? 0;
  try {
    while (!signal.aborted) {
      const wasOver = isOver();
      for (;;) {
        const chunk = segment && await readAt(segment, atBytes);
        if (!chunk) break;
        atBytes += chunk.length;
        yield chunk;
      }
      const next = await nextSegment(files, path, segment);
      if (next) {
        // What came between the last read and the turn is still in the one that was open.
        for (
          let rest = segment && await readAt(segment, atBytes);
          rest;
          rest = segment && await readAt(segment, atBytes)
        ) {
          atBytes += rest.length;
          yield rest;
        }
        segment?.close();
        segment = next;
        atBytes = 0;
        continue;
      }
      if (wasOver) return;
      await clock.sleep(POLL_MS, signal).catch(() => {}); // the loop's condition sees it
    }
  } finally {
    segment?.close();
  }
}

async function readAt(file: RandomAccessFile, atBytes: number): Promise<Uint8Array<ArrayBuffer> | undefined> {
  const buffer = new Uint8Array(CHUNK_BYTES);
  const count = await file.readAt(buffer, atBytes);
  return count === 0 ? undefined : buffer.subarray(0, count);
}

/** The file at the path, where it is another than the one that is open: that one's size is final then. */
async function nextSegment(
  files: Pick<Files, "open" | "stat">,
  path: string,
  segment: RandomAccessFile | undefined,
): Promise<RandomAccessFile | undefined> {
  const there = await files.stat(path);
  if (!there) return undefined;
  if (!segment) return await openIfThere(files, path);
  // Segments only grow: the same file, looked at later, is never smaller.
  const openBytes = await segment.sizeBytes();
  const again = await files.stat(path);
  const isOther = there.sizeBytes > openBytes || (again !== undefined && again.sizeBytes < openBytes);
  return isOther ? await openIfThere(files, path) : undefined;
}

async function openIfThere(
  files: Pick<Files, "open" | "stat">,
  path: string,
): Promise<RandomAccessFile | undefined> {
  return await files.stat(path) ? await files.open(path, { read: true }) : undefined;
}
