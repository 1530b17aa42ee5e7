import { writeFully } from "../../base/bytes.ts";
import { BangerError } from "../../base/errors.ts";
import type { Connection } from "../../base/host.ts";
import { encodeWindow } from "./exec.ts";
import {
  FLUSH_BYTES,
  MAX_MUX_PAYLOAD_BYTES,
  MAX_STREAMS,
  MUX_FRAME,
  MUX_OVERHEAD_BYTES,
  putMuxFrame,
} from "./mux_frames.ts";

const NOTHING = new Uint8Array(0);
/** Beyond it frames wait: what is in front of a frame delays it. */
const BATCH_BYTES = 2 * (MAX_MUX_PAYLOAD_BYTES + MUX_OVERHEAD_BYTES);
const WINDOW_FRAME_BYTES = MUX_OVERHEAD_BYTES + 4;
/** A batch, and a flush with its reset on top, and the windows of all streams. */
const BUFFER_BYTES = BATCH_BYTES + FLUSH_BYTES + 64 + MAX_STREAMS * WINDOW_FRAME_BYTES;
/**
 * Promises that may be settled before a batch goes out: an answer and the end of its stream come some
 * turns after each other, and to write them together is worth far more than the turns cost.
 */
const TURNS_BEFORE_WRITE = 24;
/** For windows of nothing alone: they say only that a stream is taken, and its answer does so, too. */
const TURNS_BEFORE_WINDOWS = 200;

interface Waiting {
  readonly type: number;
  readonly stream: number;
  readonly payload: Uint8Array;
  readonly done: (failure?: BangerError) => void;
}

/**
 * The one writer of a mux's channel. Frames are copied into a batch at once, or wait in the order of
 * the calls where it is full; that takes turns between streams, because each has at most one frame
 * waiting. Windows are added up per stream and never wait: the reading side never waits for the writing
 * side, so two muxes cannot block each other.
 */
export class MuxWriter {
  readonly #channel: Pick<Connection, "write">;
  readonly #windows = new Map<number, number>();
  /** The sum of them. */
  #windowBytes = 0;
  #batch = new Uint8Array(BUFFER_BYTES);
  #batchBytes = 0;
  /** The other buffer: it is being written, or empty. */
  #spare = new Uint8Array(BUFFER_BYTES);
  #waiting: Waiting[] = [];
  #isRunning = false;
  #failure: BangerError | undefined;

  constructor(channel: Pick<Connection, "write">) {
    this.#channel = channel;
  }

  /**
   * @param payload not to be changed before it returns
   * @returns when the frame is in a batch
   * @throws {BangerError} `connection_failed` if it never will be
   */
  send(type: number, stream: number, payload: Uint8Array): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#add({ type, stream, payload, done: (failure) => failure ? reject(failure) : resolve() });
    });
  }

  /** As `send`, for what nobody waits for: if it is never written, the channel is gone and all know it. */
  post(type: number, stream: number, payload: Uint8Array = NOTHING): void {
    this.#add({ type, stream, payload, done: () => {} });
  }

  /** No-ops that fill up a cut-off frame, and right behind them a frame. In front of all that waits. */
  postFlush(type: number, payload: Uint8Array): void {
    // One is as good as two, and the buffer has room for one.
    if (this.#batchBytes > BATCH_BYTES) return;
    this.#batch.fill(0, this.#batchBytes, this.#batchBytes + FLUSH_BYTES);
    this.#batchBytes += FLUSH_BYTES;
    this.#put(type, 0, payload);
    this.#start();
  }

  addWindow(stream: number, bytes: number): void {
    this.#windows.set(stream, (this.#windows.get(stream) ?? 0) + bytes);
    this.#windowBytes += bytes;
    this.#start();
  }

  /** Drops what is not yet being written: a new epoch begins. */
  clear(): void {
    const dropped = this.#waiting;
    this.#waiting = [];
    this.#batchBytes = 0;
    this.#windows.clear();
    this.#windowBytes = 0;
    for (const { done } of dropped) done(this.#failure ?? lost());
  }

  #add(waiting: Waiting): void {
    if (this.#failure) {
      waiting.done(this.#failure);
    } else if (this.#waiting.length === 0 && this.#hasRoom(waiting)) {
      this.#put(waiting.type, waiting.stream, waiting.payload);
      waiting.done();
    } else {
      this.#waiting.push(waiting);
    }
    this.#start();
  }

  #hasRoom({ payload }: Waiting): boolean {
    return this.#batchBytes + MUX_OVERHEAD_BYTES + payload.length <= BATCH_BYTES;
  }

  #put(type: number, stream: number, payload: Uint8Array): void {
    this.#batchBytes += putMuxFrame(this.#batch, this.#batchBytes, type, stream, payload);
  }

  #start(): void {
    if (this.#isRunning || this.#failure) return;
    this.#isRunning = true;
    this.#run().catch((cause) => {
      this.#failure = lost(cause);
      this.clear();
    });
  }

  async #run(): Promise<void> {
    while (this.#batchBytes > 0 || this.#windows.size > 0) {
      for (let turn = 0; turn < TURNS_BEFORE_WINDOWS && this.#hasOnlyTaken(); turn++) await Promise.resolve();
      for (let turn = 0; turn < TURNS_BEFORE_WRITE; turn++) await Promise.resolve();
      const bytes = this.#takeBatch();
      this.#admitWaiting();
      await writeFully((part) => this.#channel.write(part), bytes);
    }
    // In the turn that saw nothing to do: what comes in the next must start it again.
    this.#isRunning = false;
  }

  /** Nobody waits for it. */
  #hasOnlyTaken(): boolean {
    return this.#batchBytes === 0 && this.#windowBytes === 0;
  }

  /** @returns what to write now; the buffers change places */
  #takeBatch(): Uint8Array {
    for (const [stream, bytes] of this.#windows) this.#put(MUX_FRAME.window, stream, encodeWindow(bytes));
    this.#windows.clear();
    this.#windowBytes = 0;
    const full = this.#batch;
    const bytes = full.subarray(0, this.#batchBytes);
    this.#batch = this.#spare;
    this.#spare = full;
    this.#batchBytes = 0;
    return bytes;
  }

  #admitWaiting(): void {
    let admitted = 0;
    for (const waiting of this.#waiting) {
      if (!this.#hasRoom(waiting)) break;
      this.#put(waiting.type, waiting.stream, waiting.payload);
      waiting.done();
      admitted++;
    }
    this.#waiting.splice(0, admitted);
  }
}

function lost(cause?: unknown): BangerError {
  const text = "Cannot write to the guest's stream: the connection is lost";
  return new BangerError("connection_failed", text, undefined, { cause });
}
