import { BangerError } from "../lib/base/errors.ts";
import type { Connection } from "../lib/base/host.ts";
import {
  bytesOf,
  checked,
  EAGAIN,
  EINTR,
  EIO,
  EPIPE,
  errnoOf,
  F_SETFL,
  FIONREAD,
  type Libc,
  LibcError,
  O_NONBLOCK,
} from "./libc.ts";
import { type Poller, POLLHUP, POLLIN, POLLOUT } from "./poller.ts";

const MAX_STEPS = 32;

/** What a descriptor needs from the agent. */
export interface Descriptors {
  readonly libc: Libc;
  readonly poller: Poller;
}

/** A pipe's end, a terminal or a device as a byte stream. It owns the descriptor. */
export class DescriptorStream implements Connection {
  readonly #libc: Libc;
  readonly #poller: Poller;
  readonly fd: number;
  /** `struct iovec[]` */
  readonly #steps = new BigUint64Array(2 * MAX_STEPS);
  #open = true;

  constructor({ libc, poller }: Descriptors, fd: number) {
    this.#libc = libc;
    this.#poller = poller;
    this.fd = fd;
    // None of ours has another of the flags that can be set so.
    checked(libc, "fcntl", libc.call.fcntl(fd, F_SETFL, O_NONBLOCK));
  }

  async read(into: Uint8Array): Promise<number | null> {
    while (this.#open) {
      const count = this.readNow(into);
      if (count !== undefined) return count;
      await this.#poller.wait(this.fd, POLLIN);
    }
    return null;
  }

  /**
   * As `read`, then on without waiting: for devices that give little at a time.
   *
   * @param stepBytes what the device gives at most
   */
  async readAll(into: Uint8Array, stepBytes: number): Promise<number | null> {
    const first = await this.read(into);
    return first === null ? null : this.#readOn(into, first, stepBytes);
  }

  /** As `readAll`, without waiting. @returns undefined where nothing is there yet */
  readAllNow(into: Uint8Array, stepBytes: number): number | null | undefined {
    const first = this.readNow(into);
    return typeof first === "number" ? this.#readOn(into, first, stepBytes) : first;
  }

  /** @returns bytes in `into` */
  #readOn(into: Uint8Array, first: number, stepBytes: number): number {
    let filled = first;
    while (filled < into.length) {
      const space = into.subarray(filled, filled + MAX_STEPS * stepBytes);
      const count = this.#readSteps(space, stepBytes);
      filled += count;
      // A step that is not full may have others behind it.
      if (count < space.length && count % stepBytes === 0) break;
    }
    return filled;
  }

  /** Many reads in one call. @returns 0 where nothing is there now, or the read alone must tell why not */
  #readSteps(into: Uint8Array, stepBytes: number): number {
    const steps = Math.ceil(into.length / stepBytes);
    const address = BigInt(Deno.UnsafePointer.value(Deno.UnsafePointer.of(into as Uint8Array<ArrayBuffer>)));
    for (let step = 0; step < steps; step++) {
      this.#steps[2 * step] = address + BigInt(step * stepBytes);
      this.#steps[2 * step + 1] = BigInt(Math.min(stepBytes, into.length - step * stepBytes));
    }
    return Math.max(this.#libc.call.readv(this.fd, bytesOf(this.#steps), steps), 0);
  }

  /** Without waiting. @returns undefined where nothing is there yet */
  readNow(into: Uint8Array): number | null | undefined {
    if (!this.#open) return null;
    for (;;) {
      const count = this.#libc.call.read(this.fd, into as Uint8Array<ArrayBuffer>, BigInt(into.length));
      if (count > 0) return count;
      if (count === 0) return null;
      const errno = errnoOf(this.#libc);
      if (errno === EAGAIN) return undefined;
      // A terminal whose last user has gone.
      if (errno === EIO) return null;
      if (errno !== EINTR) throw new LibcError("read", errno);
    }
  }

  /** @throws {BangerError} `connection_failed` where nobody reads it any more */
  async write(bytes: Uint8Array): Promise<number> {
    while (this.#open) {
      const count = this.#tryWrite(bytes);
      if (count === null) break;
      if (count !== undefined) return count;
      const events = await this.#poller.wait(this.fd, POLLOUT);
      // Nobody is there to make room.
      if (events & POLLHUP && !(events & POLLOUT)) break;
    }
    throw new BangerError("connection_failed", "Cannot write to a descriptor: nobody reads it");
  }

  /** Without waiting and without failure. @returns bytes taken, maybe none */
  writeNow(bytes: Uint8Array): number {
    return this.#open && bytes.length > 0 ? this.#tryWrite(bytes) ?? 0 : 0;
  }

  /** @returns undefined where there is no room now, null where nobody reads it any more */
  #tryWrite(bytes: Uint8Array): number | undefined | null {
    for (;;) {
      const count = this.#libc.call.write(this.fd, bytes as Uint8Array<ArrayBuffer>, BigInt(bytes.length));
      if (count >= 0) return count;
      const errno = errnoOf(this.#libc);
      if (errno === EAGAIN) return undefined;
      if (errno === EPIPE || errno === EIO) return null;
      if (errno !== EINTR) throw new LibcError("write", errno);
    }
  }

  /** Bytes that can be read without waiting. */
  readableBytes(): number {
    if (!this.#open) return 0;
    const count = new Int32Array(1);
    const result = this.#libc.call.ioctl(this.fd, FIONREAD, bytesOf(count));
    return result < 0 ? 0 : count[0]!;
  }

  /** A descriptor has one direction, or cannot end one of two. */
  closeWrite(): Promise<void> {
    this.close();
    return Promise.resolve();
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#poller.forget(this.fd);
    this.#libc.call.close(this.fd);
  }
}
