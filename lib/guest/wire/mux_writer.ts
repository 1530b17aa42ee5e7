import { concatBytes, writeFully } from "../../base/bytes.ts";
import { BangerError } from "../../base/errors.ts";
import type { Connection } from "../../base/host.ts";
import { encodeMuxFrame, MUX_FRAME } from "./mux_frames.ts";
import { encodeWindow } from "./exec.ts";

/** Joined into one write: a system call and a virtio buffer carry more than one small frame. */
const MAX_BATCH_BYTES = 64 * 1024;

interface Waiting {
  readonly bytes: Uint8Array;
  readonly done: (failure?: BangerError) => void;
}

/**
 * The one writer of a mux's channel. Frames go out in the order of the calls, which takes turns between
 * streams because each has at most one frame waiting. Windows go first and are added up per stream: the
 * reading side never waits for the writing side, so two muxes cannot block each other.
 */
export class MuxWriter {
  readonly #channel: Pick<Connection, "write">;
  readonly #windows = new Map<number, number>();
  #waiting: Waiting[] = [];
  #running = false;
  #failure: BangerError | undefined;

  constructor(channel: Pick<Connection, "write">) {
    this.#channel = channel;
  }

  /** @returns when it is written. @throws {BangerError} `connection_failed` if it never will be */
  send(bytes: Uint8Array): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#push({ bytes, done: (failure) => failure ? reject(failure) : resolve() });
    });
  }

  /** As `send`, for what nobody waits for: if it is never written, the channel is gone and all know it. */
  post(bytes: Uint8Array): void {
    this.#push({ bytes, done: () => {} });
  }

  addWindow(stream: number, bytes: number): void {
    this.#windows.set(stream, (this.#windows.get(stream) ?? 0) + bytes);
    this.#start();
  }

  /** Drops what is not yet in a write: a new epoch begins. */
  clear(): void {
    const dropped = this.#waiting;
    this.#waiting = [];
    this.#windows.clear();
    for (const { done } of dropped) done(lost());
  }

  #push(waiting: Waiting): void {
    if (this.#failure) {
      waiting.done(this.#failure);
      return;
    }
    this.#waiting.push(waiting);
    this.#start();
  }

  #start(): void {
    if (this.#running || this.#failure) return;
    this.#running = true;
    this.#run().catch((cause) => {
      this.#failure = lost(cause);
      this.clear();
    });
  }

  async #run(): Promise<void> {
    // One turn later, so that what is sent in this turn goes into one write.
    await Promise.resolve();
    while (this.#waiting.length > 0 || this.#windows.size > 0) {
      const batch = this.#nextBatch();
      try {
        await writeFully((bytes) => this.#channel.write(bytes), batch.bytes);
      } catch (cause) {
        for (const done of batch.done) done(lost(cause));
        throw cause;
      }
      for (const done of batch.done) done();
    }
    // In the turn that saw nothing to do: what comes in the next must start it again.
    this.#running = false;
  }

  #nextBatch(): { bytes: Uint8Array; done: Waiting["done"][] } {
    const parts: Uint8Array[] = [];
    const done: Waiting["done"][] = [];
    for (const [stream, bytes] of this.#windows) {
      parts.push(encodeMuxFrame(MUX_FRAME.window, stream, encodeWindow(bytes)));
    }
    this.#windows.clear();
    let size = 0;
    let taken = 0;
    for (; taken < this.#waiting.length && size < MAX_BATCH_BYTES; taken++) {
      const waiting = this.#waiting[taken]!;
      parts.push(waiting.bytes);
      done.push(waiting.done);
      size += waiting.bytes.length;
    }
    this.#waiting.splice(0, taken);
    return { bytes: parts.length === 1 ? parts[0]! : concatBytes(parts), done };
  }
}

function lost(cause?: unknown): BangerError {
  return new BangerError(
    "connection_failed",
    "Cannot write to the guest's stream: the connection is lost",
    undefined,
    {
      cause,
    },
  );
}
