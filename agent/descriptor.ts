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

  /** As `read`, then on without waiting: for devices that give little at a time. */
  async readAll(into: Uint8Array): Promise<number | null> {
    const first = await this.read(into);
    if (first === null) return null;
    let filled = first;
    while (filled < into.length) {
      const count = this.readNow(into.subarray(filled));
      if (count === undefined || count === null) break;
      filled += count;
    }
    return filled;
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
