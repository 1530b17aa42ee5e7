import { BangerError, reasonOf } from "../../base/errors.ts";
import type { Clock, Files, RandomAccessFile } from "../../base/host.ts";
import { MIB } from "../../base/units.ts";
import { algorithmOf, Digester } from "../model/digest.ts";
import type { Descriptor } from "../model/manifest.ts";

/** Opens a blob at an offset; what comes may begin at 0 instead. */
export type OpenBlob = (
  descriptor: Descriptor,
  offsetBytes: number,
  signal: AbortSignal,
) => Promise<{ readonly offsetBytes: number; readonly body: AsyncIterable<Uint8Array> }>;

const WRITE_BYTES = MIB;
const READ_BYTES = MIB;
/** In a row, each without a single new byte. */
const MAX_FRUITLESS_ATTEMPTS = 5;
const RETRY_WAIT_MS = 500;

/**
 * One blob on its way into the store. Any number of readers may follow it while it grows; they reach its end
 * only once its size and digest are right and it was published.
 */
export class BlobDownload {
  readonly descriptor: Descriptor;
  readonly #host: { readonly files: Files; readonly clock: Clock };
  readonly #partialPath: string;
  readonly #finalPath: string;
  readonly #abort = new AbortController();
  readonly #done: Promise<void>;
  /** On disk, readable. */
  #writtenBytes = 0;
  #isOver = false;
  #readers = 0;
  #wake = Promise.withResolvers<void>();

  /** @param paths where it grows, and where it is once it is complete and right */
  constructor(
    host: { readonly files: Files; readonly clock: Clock },
    descriptor: Descriptor,
    paths: { readonly partial: string; readonly final: string },
    open: OpenBlob,
  ) {
    this.#host = host;
    this.descriptor = descriptor;
    this.#partialPath = paths.partial;
    this.#finalPath = paths.final;
    this.#done = this.#run(open);
    // Whoever reads or waits gets the failure; without anybody left it concerns nobody.
    this.#done.catch(() => {});
  }

  get writtenBytes(): number {
    return this.#writtenBytes;
  }

  /** Resolves once it was published. */
  get done(): Promise<void> {
    return this.#done;
  }

  /** Ends it, unless it is finished: readers fail with `reason`. Resolves when nothing of it is left. */
  async cancel(reason: unknown): Promise<void> {
    this.#abort.abort(reason);
    await Promise.allSettled([this.#done]);
  }

  /** Takes part in it: while somebody does, it goes on. Disposing the last part of an unfinished one ends it. */
  join(): AsyncDisposable {
    this.#readers++;
    let hasLeft = false;
    return {
      [Symbol.asyncDispose]: async () => {
        if (hasLeft) return;
        hasLeft = true;
        if (--this.#readers === 0 && !this.#isOver) {
          await this.cancel(new BangerError("cancelled", "Cannot finish the download: nobody waits for it"));
        }
      },
    };
  }

  /**
   * The bytes as they arrive; each chunk is valid until the next.
   *
   * @throws what made the download fail; the signal's reason
   */
  async *read(signal: AbortSignal): AsyncGenerator<Uint8Array> {
    using aborted = abortion(signal);
    if (this.descriptor.sizeBytes > 0) {
      await this.#waitFor(1, aborted);
      await using file = await this.#openToRead();
      yield* this.#readFrom(file, aborted);
    }
    await Promise.race([this.#done, aborted.promise]);
  }

  /** Open under its first name, the file stays readable when it is renamed. */
  async #openToRead(): Promise<RandomAccessFile> {
    try {
      if (!this.#isOver) return await this.#host.files.open(this.#partialPath, { read: true });
    } catch (failure) {
      if (!(failure instanceof BangerError) || failure.code !== "not_found") throw failure;
    }
    await this.#done;
    return await this.#host.files.open(this.#finalPath, { read: true });
  }

  async *#readFrom(file: RandomAccessFile, aborted: Abortion): AsyncGenerator<Uint8Array> {
    const buffer = new Uint8Array(READ_BYTES);
    for (let at = 0; at < this.descriptor.sizeBytes;) {
      await this.#waitFor(at + 1, aborted);
      const length = await file.readAt(buffer.subarray(0, Math.min(READ_BYTES, this.#writtenBytes - at)), at);
      if (length === 0) {
        // It began again from the start: what is there catches up with us.
        await this.#waitFor(at + 1, aborted);
        continue;
      }
      at += length;
      yield buffer.subarray(0, length);
    }
  }

  async #waitFor(writtenBytes: number, aborted: Abortion): Promise<void> {
    while (this.#writtenBytes < writtenBytes && !this.#isOver) {
      await Promise.race([this.#wake.promise, aborted.promise]);
    }
    if (this.#writtenBytes < writtenBytes) await this.#done;
  }

  #notify(): void {
    const { resolve } = this.#wake;
    this.#wake = Promise.withResolvers();
    resolve();
  }

  async #run(open: OpenBlob): Promise<void> {
    try {
      {
        await using file = await this.#host.files.open(this.#partialPath, {
          write: true,
          createNew: true,
          mode: 0o600,
        });
        await this.#fetch(open, file);
      }
      await this.#host.files.rename(this.#partialPath, this.#finalPath);
    } catch (failure) {
      await this.#host.files.remove(this.#partialPath);
      throw failure;
    } finally {
      this.#isOver = true;
      this.#notify();
    }
  }

  async #fetch(open: OpenBlob, file: RandomAccessFile): Promise<void> {
    const { digest, sizeBytes } = this.descriptor;
    let digester = new Digester(algorithmOf(digest));
    let fruitless = 0;
    for (;;) {
      this.#abort.signal.throwIfAborted();
      const before = this.#writtenBytes;
      const stream = await open(this.descriptor, before, this.#abort.signal);
      if (stream.offsetBytes === 0 && before > 0) {
        digester = new Digester(algorithmOf(digest));
        this.#writtenBytes = 0;
        await file.truncate(0);
      }
      const broken = await this.#receive(stream.body, file, digester);
      if (broken === undefined && this.#writtenBytes === sizeBytes) break;
      fruitless = this.#writtenBytes > before ? 0 : fruitless + 1;
      if (fruitless === MAX_FRUITLESS_ATTEMPTS) throw this.#endedEarly(broken);
      await this.#host.clock.sleep(RETRY_WAIT_MS * 2 ** fruitless, this.#abort.signal);
    }
    if (digester.digest() !== digest) {
      throw new BangerError(
        "corrupt_data",
        `Cannot use ${digest}: what was downloaded has another digest`,
        "Pull again; if it stays, the registry or a mirror has a damaged copy",
      );
    }
  }

  /** @returns what broke the stream, if something did */
  async #receive(
    body: AsyncIterable<Uint8Array>,
    file: RandomAccessFile,
    digester: Digester,
  ): Promise<unknown> {
    let [buffer, other] = [new Uint8Array(WRITE_BYTES), new Uint8Array(WRITE_BYTES)];
    let filled = 0;
    let received = this.#writtenBytes;
    let flushed = received;
    /** One piece is on its way to the file while the next is received. */
    let writing: Promise<void> = Promise.resolve();
    const flush = async () => {
      if (filled === 0) return;
      const piece = buffer.subarray(0, filled);
      digester.update(piece);
      await writing;
      writing = this.#write(file, piece, flushed);
      writing.catch(() => {}); // whoever awaits it next is told
      flushed += filled;
      filled = 0;
      [buffer, other] = [other, buffer];
    };
    let broken: unknown;
    try {
      for await (const chunk of body) {
        received += chunk.length;
        if (received > this.descriptor.sizeBytes) throw this.#tooLong();
        for (let at = 0; at < chunk.length;) {
          const part = chunk.subarray(at, at + WRITE_BYTES - filled);
          buffer.set(part, filled);
          filled += part.length;
          at += part.length;
          if (filled === WRITE_BYTES) await flush();
        }
      }
    } catch (failure) {
      this.#abort.signal.throwIfAborted();
      // Ours are about the content or the disk, or a server that went silent; a broken connection is anything else.
      const isOurs = failure instanceof BangerError && failure.code !== "source_unavailable";
      if (isOurs) throw failure;
      broken = failure ?? new Error("the connection broke");
    }
    await flush();
    await writing;
    return broken;
  }

  async #write(file: RandomAccessFile, piece: Uint8Array, offsetBytes: number): Promise<void> {
    await file.writeAt(piece, offsetBytes);
    this.#writtenBytes = offsetBytes + piece.length;
    this.#notify();
  }

  #tooLong(): BangerError {
    const { digest, sizeBytes } = this.descriptor;
    return new BangerError(
      "corrupt_data",
      `Cannot use ${digest}: there is more of it than its ${sizeBytes} bytes`,
    );
  }

  #endedEarly(broken: unknown): BangerError {
    const { digest, sizeBytes } = this.descriptor;
    const why = broken === undefined ? "" : ` (${reasonOf(broken)})`;
    return new BangerError(
      "source_unavailable",
      `Cannot download ${digest}: it ended after ${this.#writtenBytes} of ${sizeBytes} bytes${why}`,
      "Pull again later",
      { cause: broken },
    );
  }
}

/** A signal as a promise that rejects, and lets go of the signal when it is disposed. */
interface Abortion extends Disposable {
  readonly promise: Promise<never>;
}

function abortion(signal: AbortSignal): Abortion {
  signal.throwIfAborted();
  const { promise, reject } = Promise.withResolvers<never>();
  promise.catch(() => {});
  const onAbort = () => reject(signal.reason);
  signal.addEventListener("abort", onAbort, { once: true });
  return { promise, [Symbol.dispose]: () => signal.removeEventListener("abort", onAbort) };
}
