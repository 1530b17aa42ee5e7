import { writeFully } from "../../base/bytes.ts";
import { BangerError } from "../../base/errors.ts";
import type { Connection } from "../../base/host.ts";
import { putUint32, uint32 } from "./packets.ts";

/** Of the guest's card: one packet carries what takes 45 of 1500 bytes, and packets are what costs. */
export const MTU = 65_520;
/** QEMU's own limit is 4096 + 65536 bytes (net/net.h, NET_BUFSIZE). */
const MAX_FRAME_BYTES = 68 * 1024;
const LENGTH_BYTES = 4;
const READ_BYTES = 512 * 1024;
/** Frames under way to the guest. Whoever meets a full buffer waits for `onRoom`. */
const WRITE_BYTES = 1024 * 1024;

export interface LinkEvents {
  /** A frame of the guest, as a view that is valid during the call. */
  onFrame(frame: Uint8Array): void;
  /** All frames that came together were given. */
  onBatchEnd(): void;
  /** There is room again. */
  onRoom(): void;
}

/**
 * Ethernet frames on a stream, each behind its length (big-endian, 32 bits), as QEMU's `-netdev stream` has it.
 * The stream loses nothing and keeps the order.
 */
export class FrameLink {
  readonly #connection: Connection;
  readonly #events: LinkEvents;
  #filling: Uint8Array<ArrayBuffer> = new Uint8Array(WRITE_BYTES);
  #writing: Uint8Array<ArrayBuffer> = new Uint8Array(WRITE_BYTES);
  #filled = 0;
  #isWriting = false;
  #wasFull = false;

  constructor(connection: Connection, events: LinkEvents) {
    this.#connection = connection;
    this.#events = events;
  }

  /**
   * Reads until the connection ends.
   *
   * @throws {BangerError} `corrupt_data` where it is no stream of frames; what reading throws
   */
  async run(): Promise<void> {
    const buffer = new Uint8Array(READ_BYTES);
    let filled = 0;
    for (;;) {
      const count = await this.#connection.read(buffer.subarray(filled));
      if (count === null) return;
      filled += count;
      let at = 0;
      while (filled - at >= LENGTH_BYTES) {
        const length = uint32(buffer, at);
        if (length > MAX_FRAME_BYTES) {
          throw new BangerError("corrupt_data", "Cannot read the guest's frames: one is too long");
        }
        if (filled - at < LENGTH_BYTES + length) break;
        this.#events.onFrame(buffer.subarray(at + LENGTH_BYTES, at + LENGTH_BYTES + length));
        at += LENGTH_BYTES + length;
      }
      buffer.copyWithin(0, at, filled);
      filled -= at;
      this.#events.onBatchEnd();
    }
  }

  /**
   * Makes room for one frame; the caller fills the view before anything else happens.
   *
   * @returns undefined where there is none now
   */
  frame(sizeBytes: number): Uint8Array | undefined {
    const needed = LENGTH_BYTES + sizeBytes;
    if (this.#filled + needed > this.#filling.length) {
      this.#wasFull = true;
      return undefined;
    }
    putUint32(this.#filling, this.#filled, sizeBytes);
    const start = this.#filled + LENGTH_BYTES;
    this.#filled += needed;
    if (!this.#isWriting) {
      this.#isWriting = true;
      // After this turn, so that what is made together goes together.
      queueMicrotask(() => void this.#flush());
    }
    return this.#filling.subarray(start, start + sizeBytes);
  }

  close(): void {
    this.#connection.close();
  }

  async #flush(): Promise<void> {
    try {
      while (this.#filled > 0) {
        const ready = this.#filling.subarray(0, this.#filled);
        [this.#filling, this.#writing] = [this.#writing, this.#filling];
        this.#filled = 0;
        if (this.#wasFull) {
          this.#wasFull = false;
          this.#events.onRoom();
        }
        await writeFully((bytes) => this.#connection.write(bytes), ready);
      }
      this.#isWriting = false;
    } catch {
      // The reading side sees the end, too, and tells it.
      this.#connection.close();
    }
  }
}
