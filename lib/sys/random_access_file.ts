import type { OpenOptions, RandomAccessFile } from "../base/host.ts";
import { osError } from "./os_errors.ts";

/** Below this a synchronous call costs less than the way to a thread and back. */
const ASYNC_FROM_BYTES = 256 * 1024;

export async function openRandomAccessFile(path: string, options: OpenOptions): Promise<RandomAccessFile> {
  try {
    return new DenoFile(path, await Deno.open(path, options));
  } catch (thrown) {
    throw osError(`open ${path}`, thrown);
  }
}

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
