import { BangerError } from "../../base/errors.ts";
import type { Connection } from "../../base/host.ts";
import { ByteRing } from "./byte_ring.ts";
import { CLOSE_REASON, MAX_MUX_PAYLOAD_BYTES, MUX_FRAME, WINDOW_BYTES } from "./mux_frames.ts";
import type { MuxWriter } from "./mux_writer.ts";

/** Told back to the other side once so much was read: often enough to never stop it, rarely enough to be cheap. */
const WINDOW_STEP_BYTES = WINDOW_BYTES / 2;
const NOTHING = new Uint8Array(0);

/** One byte stream of a mux. */
export class MuxStream implements Connection {
  readonly id: number;
  /** On the host: resolves when the guest has taken the stream, rejects when it refuses. */
  readonly accepted: Promise<void>;

  readonly #writer: MuxWriter;
  readonly #gone: (id: number) => void;
  readonly #received = new ByteRing(WINDOW_BYTES);
  #settleAccepted: { resolve: () => void; reject: (reason: BangerError) => void };
  /** Read, but not yet told to the other side. */
  #unacknowledged = 0;
  #credit = WINDOW_BYTES;
  #readEnded = false;
  #writeEnded = false;
  #closedHere = false;
  #lost: BangerError | undefined;
  #wake: (() => void)[] = [];

  /** @param gone called once, when no frame of it will be sent or taken any more */
  constructor(id: number, writer: MuxWriter, gone: (id: number) => void) {
    this.id = id;
    this.#writer = writer;
    this.#gone = gone;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.accepted = promise;
    // Whoever does not ask learns it from read and write.
    this.accepted.catch(() => {});
    this.#settleAccepted = { resolve, reject };
  }

  async read(into: Uint8Array): Promise<number | null> {
    for (;;) {
      if (this.#closedHere) return null;
      if (this.#received.length > 0) return this.#takeReceived(into);
      if (this.#readEnded) return null;
      if (this.#lost) throw this.#lost;
      await this.#change();
    }
  }

  async write(bytes: Uint8Array): Promise<number> {
    for (;;) {
      if (this.#lost) throw this.#lost;
      if (this.#writeEnded || this.#closedHere) throw closed("this side has ended it");
      if (this.#credit > 0 || bytes.length === 0) break;
      await this.#change();
    }
    const part = bytes.subarray(0, Math.min(this.#credit, MAX_MUX_PAYLOAD_BYTES));
    if (part.length === 0) return 0;
    this.#credit -= part.length;
    await this.#writer.send(MUX_FRAME.data, this.id, part);
    return part.length;
  }

  async closeWrite(): Promise<void> {
    if (this.#writeEnded || this.#closedHere || this.#lost) return;
    this.#writeEnded = true;
    const sent = this.#writer.send(MUX_FRAME.end, this.id, NOTHING);
    if (this.#readEnded) this.#gone(this.id);
    await sent;
  }

  close(): void {
    if (this.#closedHere) return;
    this.#closedHere = true;
    this.#received.clear();
    if (!this.#lost) {
      if (!this.#writeEnded) this.#writer.post(MUX_FRAME.end, this.id);
      if (!(this.#writeEnded && this.#readEnded)) {
        this.#writer.post(MUX_FRAME.close, this.id, Uint8Array.of(CLOSE_REASON.aborted));
      }
    }
    this.#settleAccepted.reject(closed("this side has closed it"));
    this.#gone(this.id);
    this.#notify();
  }

  /** @throws {BangerError} `corrupt_data` where the sender did not keep to the window */
  takeData(payload: Uint8Array): void {
    if (this.#closedHere) return;
    if (this.#readEnded || payload.length === 0 || !this.#received.push(payload)) {
      throw new BangerError(
        "corrupt_data",
        "Cannot take a stream's bytes: they are beyond its window or its end",
      );
    }
    this.#settleAccepted.resolve();
    this.#notify();
  }

  /** @throws {BangerError} `corrupt_data` where it is more than was ever sent */
  takeWindow(bytes: number): void {
    if (this.#credit + bytes > WINDOW_BYTES) {
      throw new BangerError("corrupt_data", "Cannot take a stream's window: it is larger than what was sent");
    }
    this.#credit += bytes;
    this.#settleAccepted.resolve();
    this.#notify();
  }

  takeEnd(): void {
    this.#readEnded = true;
    this.#settleAccepted.resolve();
    if (this.#writeEnded) this.#gone(this.id);
    this.#notify();
  }

  /** The other side has closed it, or the epoch is over. What was received before can still be read. */
  takeClose(why: string): void {
    this.#lost ??= closed(why);
    this.#settleAccepted.reject(this.#lost);
    this.#gone(this.id);
    this.#notify();
  }

  #takeReceived(into: Uint8Array): number {
    const count = this.#received.shift(into);
    this.#unacknowledged += count;
    if (this.#unacknowledged >= WINDOW_STEP_BYTES && !this.#readEnded && !this.#lost) {
      this.#writer.addWindow(this.id, this.#unacknowledged);
      this.#unacknowledged = 0;
    }
    return count;
  }

  #change(): Promise<void> {
    return new Promise((resolve) => this.#wake.push(resolve));
  }

  #notify(): void {
    const woken = this.#wake;
    this.#wake = [];
    for (const wake of woken) wake();
  }
}

function closed(why: string): BangerError {
  return new BangerError("connection_failed", `Cannot use the stream to the guest: ${why}`);
}
