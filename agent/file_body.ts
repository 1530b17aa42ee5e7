/** A file's bytes between a connection, or the window, and the file: one block comes while the other goes. */
import { BangerError } from "../lib/base/errors.ts";
import { quote } from "../lib/base/names.ts";
import { type Body, ChunkBuffer } from "../lib/guest/wire/http.ts";
import { ACKNOWLEDGEMENT, BYTES_FOLLOW, SLOT_BYTES } from "../lib/guest/wire/window.ts";
import { alignedBuffer, ALIGNMENT_BYTES } from "./aligned.ts";
import type { Exchange } from "./exchange.ts";
import { checked, EINTR, errnoOf, F_SETFL, type Libc, O_DIRECT } from "./libc.ts";
import type { Window } from "./window.ts";

/** So that the thread that reads or writes is woken rarely. Two of them are in use at a time. */
const BLOCK_BYTES = 512 * 1024;
const LENGTH_BYTES = 4;

/** @throws {LibcError} `BangerError` where the client goes */
export async function writeBody(libc: Libc, fd: number, { body }: Pick<Exchange, "body">): Promise<void> {
  const blocks = [new Uint8Array(BLOCK_BYTES), new Uint8Array(BLOCK_BYTES)] as const;
  await using writer = new BlockWriter(libc, fd);
  let [current, filled] = [0, 0];
  const flush = async () => {
    await writer.write(blocks[current]!.subarray(0, filled));
    [current, filled] = [1 - current, 0];
  };
  for (let count; (count = await body.readInto(blocks[current]!.subarray(filled))) !== null;) {
    filled += count;
    if (filled === BLOCK_BYTES) await flush();
  }
  if (filled > 0) await flush();
  await writer.finish();
}

/** As `writeBody`, where the body tells of slots of the window. */
export async function writeSlots(libc: Libc, fd: number, window: Window, exchange: Exchange): Promise<void> {
  const blocks = [alignedBuffer(SLOT_BYTES), alignedBuffer(SLOT_BYTES)] as const;
  await using writer = new BlockWriter(libc, fd);
  writer.passCache();
  for (let index = 0;; index++) {
    const length = await readLength(exchange.body);
    if (length === undefined) return await writer.finish();
    if (length === BYTES_FOLLOW) break;
    const block = blocks[index % 2]!;
    await window.read(index, length, block);
    await exchange.send(Uint8Array.of(ACKNOWLEDGEMENT));
    await writer.write(block.subarray(0, length));
  }
  await writer.finish();
  await writeBody(libc, fd, exchange);
}

/** @returns undefined at the body's end */
async function readLength(body: Body): Promise<number | undefined> {
  const bytes = new Uint8Array(LENGTH_BYTES);
  for (let filled = 0; filled < LENGTH_BYTES;) {
    const count = await body.readInto(bytes.subarray(filled));
    if (count === null && filled === 0) return undefined;
    if (count === null) throw new BangerError("corrupt_data", "Cannot read a slot's length");
    filled += count;
  }
  return new DataView(bytes.buffer).getUint32(0);
}

/** Writes one block after the other to a file. */
class BlockWriter implements AsyncDisposable {
  readonly #libc: Libc;
  readonly #fd: number;
  #writing: Promise<void> = Promise.resolve();
  #passesCache = false;

  constructor(libc: Libc, fd: number) {
    this.#libc = libc;
    this.#fd = fd;
  }

  /** Where the file system takes that: an emulated guest spends most of a write on its page cache. */
  passCache(): void {
    this.#passesCache = this.#libc.call.fcntl(this.#fd, F_SETFL, O_DIRECT) === 0;
  }

  /** Begins, once the block before is written. @param block stays as it is until the next one is written */
  async write(block: Uint8Array<ArrayBuffer>): Promise<void> {
    await this.#writing;
    this.#writing = this.#writeAll(block);
    this.#writing.catch(() => {}); // awaited before the next one, or at the end
  }

  /** @throws {LibcError} where not all could be written */
  async finish(): Promise<void> {
    await this.#writing;
    this.#useCache();
  }

  /** The last block is the kernel's until then. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#writing.catch(() => {}); // `finish` tells it, unless something else failed before
  }

  /** On another thread: a disk that makes writers wait must not make all of the agent wait. */
  async #writeAll(block: Uint8Array<ArrayBuffer>): Promise<void> {
    if (block.length % ALIGNMENT_BYTES !== 0) this.#useCache();
    for (let at = 0; at < block.length;) {
      const rest = block.subarray(at);
      const count = await this.#libc.call.write_aside(this.#fd, rest, BigInt(rest.length));
      // The other thread's error number cannot be had: so it is tried once more on this one.
      at += count > 0 ? count : this.#writeHere(rest);
    }
  }

  #writeHere(bytes: Uint8Array<ArrayBuffer>): number {
    // A file system may say only now that it does not pass its cache.
    this.#useCache();
    const count = this.#libc.call.write(this.#fd, bytes, BigInt(bytes.length));
    return count < 0 && errnoOf(this.#libc) === EINTR ? 0 : checked(this.#libc, "write", count);
  }

  #useCache(): void {
    if (this.#passesCache) checked(this.#libc, "fcntl", this.#libc.call.fcntl(this.#fd, F_SETFL, 0));
    this.#passesCache = false;
  }
}

/** @throws {BangerError} where the file has become shorter */
export async function readBody(libc: Libc, fd: number, sizeBytes: number, exchange: Exchange, path: string) {
  const blocks = [new ChunkBuffer(BLOCK_BYTES), new ChunkBuffer(BLOCK_BYTES)] as const;
  let sending: Promise<void> = Promise.resolve();
  let current = 0;
  try {
    for (let left = sizeBytes; left > 0; current = 1 - current) {
      const block = blocks[current]!;
      const space = block.space.subarray(0, Math.min(left, BLOCK_BYTES)) as Uint8Array<ArrayBuffer>;
      const count = await libc.call.read_aside(fd, space, BigInt(space.length));
      if (count <= 0) throw new BangerError("guest_failed", `Cannot read all of ${quote(path)}`);
      left -= count;
      await sending;
      sending = exchange.sendChunk(block.chunk(count));
      sending.catch(() => {}); // awaited before the next one, or below
    }
  } finally {
    await sending;
  }
}
