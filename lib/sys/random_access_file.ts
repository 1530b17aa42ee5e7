import type { OpenOptions, RandomAccessFile } from "../base/host.ts";
import { osError } from "./os_errors.ts";

/** Below this a synchronous call costs less than the way to a thread and back. */
const ASYNC_FROM_BYTES = 256 * 1024;

export async function openRandomAccessFile(path: string, options: OpenOptions): Promise<RandomAccessFile> {
  try {
    const file = new DenoFile(path, await Deno.open(path, options));
    return options.writesOut ? new EagerFile(file) : file;
  } catch (thrown) {
    throw osError(`open ${path}`, thrown);
  }
}

/** So much is left to the host before it is asked to write it out. */
const WRITE_OUT_BYTES = 32 * 1024 * 1024;

/** Deno has no pread and pwrite: seek and transfer are kept together by doing one at a time. */
class DenoFile implements RandomAccessFile {
  readonly #path: string;
  readonly #file: Deno.FsFile;
  #last: Promise<unknown> | undefined;
  #open = true;

  constructor(path: string, file: Deno.FsFile) {
    this.#path = path;
    this.#file = file;
  }

  async readAt(buffer: Uint8Array, offsetBytes: number): Promise<number> {
    return await this.#exclusively("read", async () => {
      this.#file.seekSync(offsetBytes, Deno.SeekMode.Start);
      let filled = 0;
      while (filled < buffer.length) {
        const rest = buffer.subarray(filled);
        const count = rest.length < ASYNC_FROM_BYTES
          ? this.#file.readSync(rest)
          : await this.#file.read(rest);
        if (count === null) break;
        filled += count;
      }
      return filled;
    });
  }

  async writeAt(bytes: Uint8Array, offsetBytes: number): Promise<void> {
    await this.#exclusively("write", async () => {
      this.#file.seekSync(offsetBytes, Deno.SeekMode.Start);
      let written = 0;
      while (written < bytes.length) {
        const rest = bytes.subarray(written);
        written += rest.length < ASYNC_FROM_BYTES ? this.#file.writeSync(rest) : await this.#file.write(rest);
      }
    });
  }

  truncate(sizeBytes: number): Promise<void> {
    return this.#exclusively("resize", () => this.#file.truncate(sizeBytes));
  }

  sizeBytes(): Promise<number> {
    return this.#exclusively("look at", async () => (await this.#file.stat()).size);
  }

  sync(): Promise<void> {
    return this.#exclusively("sync", () => this.#file.sync());
  }

  /** Waits for what was written so far to be on the device; other calls go on beside it. */
  async writeOut(): Promise<void> {
    try {
      await this.#file.syncData();
    } catch (thrown) {
      throw osError(`write ${this.#path}`, thrown);
    }
  }

  close(): void {
    if (this.#open) this.#file.close();
    this.#open = false;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#last;
    this.close();
  }

  async #exclusively<T>(verb: string, act: () => Promise<T>): Promise<T> {
    while (this.#last) await this.#last;
    const running = act();
    const settled = running.then(() => {}, () => {});
    this.#last = settled;
    try {
      return await running;
    } catch (thrown) {
      throw osError(`${verb} ${this.#path}`, thrown);
    } finally {
      if (this.#last === settled) this.#last = undefined;
    }
  }
}

/**
 * Writes that are on their way to the device while more of them come. Without it, the host keeps gigabytes in
 * memory for half a minute, and whoever syncs then waits for all of them.
 */
class EagerFile implements RandomAccessFile {
  readonly #file: DenoFile;
  #pendingBytes = 0;
  #writingOut: Promise<void> | undefined;
  /** The host tells of a device's failure once only. */
  #failure: { readonly reason: unknown } | undefined;

  constructor(file: DenoFile) {
    this.#file = file;
  }

  readAt(buffer: Uint8Array, offsetBytes: number): Promise<number> {
    return this.#file.readAt(buffer, offsetBytes);
  }

  async writeAt(bytes: Uint8Array, offsetBytes: number): Promise<void> {
    if (this.#failure) throw this.#failure.reason;
    await this.#file.writeAt(bytes, offsetBytes);
    this.#pendingBytes += bytes.length;
    if (this.#pendingBytes < WRITE_OUT_BYTES || this.#writingOut) return;
    this.#pendingBytes = 0;
    this.#writingOut = this.#file.writeOut()
      .catch((reason: unknown) => {
        this.#failure = { reason };
      })
      .finally(() => this.#writingOut = undefined);
  }

  truncate(sizeBytes: number): Promise<void> {
    return this.#file.truncate(sizeBytes);
  }

  sizeBytes(): Promise<number> {
    return this.#file.sizeBytes();
  }

  async sync(): Promise<void> {
    await this.#writingOut;
    await this.#file.sync();
    if (this.#failure) throw this.#failure.reason;
  }

  close(): void {
    this.#file.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#writingOut;
    await this.#file[Symbol.asyncDispose]();
  }
}
