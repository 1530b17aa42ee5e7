import { BangerError } from "../../base/errors.ts";
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

const READ_ATTEMPTS = 4;
/** Far more than a relay is told to keep; of a larger file only the end is read. */
const MAX_SEGMENT_BYTES = 16 * 1024 * 1024;

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
    const before = await readSegment(files, path);
    const older = await readSegment(files, olderSegment(path));
    const newer = await readSegment(files, path);
    // Segments only grow. One that does not begin as it did is another: they changed places in between.
    const isSame = before.length > 0 ? startsWith(newer, before) : newer.length === 0;
    if (!isSame && attempt < READ_ATTEMPTS) continue;
    const whole = new Uint8Array(older.length + newer.length);
    whole.set(older);
    whole.set(newer, older.length);
    return whole.subarray(Math.max(0, whole.length - maxBytes));
  }
}

async function readSegment(files: Host["files"], path: string): Promise<Uint8Array> {
  await using file = await openIfThere(files, path);
  if (!file) return new Uint8Array(0);
  const sizeBytes = await file.sizeBytes();
  const bytes = new Uint8Array(Math.min(sizeBytes, MAX_SEGMENT_BYTES));
  const count = await file.readAt(bytes, sizeBytes - bytes.length);
  return bytes.subarray(0, count);
}

async function openIfThere(files: Host["files"], path: string): Promise<RandomAccessFile | undefined> {
  try {
    return await files.open(path, { read: true });
  } catch (failure) {
    if (failure instanceof BangerError && failure.code === "not_found") return undefined;
    throw failure;
  }
}

function startsWith(bytes: Uint8Array, start: Uint8Array): boolean {
  return bytes.length >= start.length && start.every((byte, at) => bytes[at] === byte);
}

/** Guests print secrets, too. */
function openSegment(files: Host["files"], path: string): Promise<RandomAccessFile> {
  return files.open(path, { write: true, read: true, create: true, mode: 0o600 });
}

function olderSegment(path: string): string {
  return `${path}.1`;
}
