import type { Host, RandomAccessFile } from "../../base/host.ts";

/**
 * A console's output, bounded: two segments, each of at most half of the cap. When the newer one is full it
 * becomes the older, whose content is gone then.
 */
export class ConsoleLog implements AsyncDisposable {
  readonly #files: Host["files"];
  readonly #path: string;
  readonly #segmentBytes: number;
  #file: RandomAccessFile;
  #sizeBytes: number;

  private constructor(
    files: Host["files"],
    path: string,
    segmentBytes: number,
    file: RandomAccessFile,
    sizeBytes: number,
  ) {
    this.#files = files;
    this.#path = path;
    this.#segmentBytes = segmentBytes;
    this.#file = file;
    this.#sizeBytes = sizeBytes;
  }

  /** Goes on where an earlier one ended. @param maxBytes of both segments together */
  static async open({ files }: Pick<Host, "files">, path: string, maxBytes: number): Promise<ConsoleLog> {
    const file = await openSegment(files, path);
    return new ConsoleLog(files, path, Math.floor(maxBytes / 2), file, await file.sizeBytes());
  }

  async append(bytes: Uint8Array): Promise<void> {
    for (let rest = bytes; rest.length > 0;) {
      if (this.#sizeBytes >= this.#segmentBytes) await this.#rotate();
      const part = rest.subarray(0, this.#segmentBytes - this.#sizeBytes);
      await this.#file.writeAt(part, this.#sizeBytes);
      this.#sizeBytes += part.length;
      rest = rest.subarray(part.length);
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#file.close();
    return Promise.resolve();
  }

  async #rotate(): Promise<void> {
    this.#file.close();
    await this.#files.rename(this.#path, olderSegment(this.#path));
    this.#file = await openSegment(this.#files, this.#path);
    this.#sizeBytes = 0;
  }
}

const READ_ATTEMPTS = 3;

/**
 * What a `ConsoleLog` holds, oldest first; empty where there is none. Works while it is written.
 *
 * @param maxBytes of the end
 */
export async function readConsole(
  { files }: Pick<Host, "files">,
  path: string,
  maxBytes: number,
): Promise<Uint8Array> {
  for (let attempt = 1;; attempt++) {
    const older = await readSegment(files, olderSegment(path), maxBytes);
    const newer = await readSegment(files, path, maxBytes);
    // Rotated in between: what was the newer segment would be missing.
    const stillOlder = await files.stat(olderSegment(path));
    if (attempt < READ_ATTEMPTS && stillOlder?.mtimeMs !== older.mtimeMs) continue;
    const whole = new Uint8Array(older.bytes.length + newer.bytes.length);
    whole.set(older.bytes);
    whole.set(newer.bytes, older.bytes.length);
    return whole.subarray(Math.max(0, whole.length - maxBytes));
  }
}

async function readSegment(
  files: Host["files"],
  path: string,
  maxBytes: number,
): Promise<{ bytes: Uint8Array; mtimeMs: number | undefined }> {
  const stat = await files.stat(path);
  if (!stat) return { bytes: new Uint8Array(0), mtimeMs: undefined };
  await using file = await files.open(path, { read: true });
  const sizeBytes = await file.sizeBytes();
  const bytes = new Uint8Array(Math.min(sizeBytes, maxBytes));
  const count = await file.readAt(bytes, sizeBytes - bytes.length);
  return { bytes: bytes.subarray(0, count), mtimeMs: stat.mtimeMs };
}

/** Guests print secrets, too. */
function openSegment(files: Host["files"], path: string): Promise<RandomAccessFile> {
  return files.open(path, { write: true, read: true, create: true, mode: 0o600 });
}

function olderSegment(path: string): string {
  return `${path}.1`;
}
