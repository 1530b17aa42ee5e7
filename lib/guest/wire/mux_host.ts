import { BangerError, reasonOf } from "../../base/errors.ts";
import type { Connection, Host } from "../../base/host.ts";
import { SparingLog } from "../../base/sparing_log.ts";
import {
  encodeMuxFrame,
  MUX_FRAME,
  MuxDecoder,
  type MuxFrame,
  NO_NONCE,
  NONCE_BYTES,
  PatternSearch,
} from "./mux_frames.ts";
import type { MuxStream } from "./mux_stream.ts";
import { MuxStreams } from "./mux_streams.ts";
import { MuxWriter } from "./mux_writer.ts";

/** A guest may be slow to start, and what is sent before lies in its port until then. */
const RESET_AGAIN_MS = 10_000;
const RESET_REQUEST = encodeMuxFrame(MUX_FRAME.resetAck, 0, NO_NONCE);
/** Between two epochs, so that a guest that sends garbage costs little. */
const EPOCH_PAUSE_MS = 100;

/**
 * The host's side of a mux on one connection to the virtio-serial port: it begins the epochs and opens
 * the streams. The guest is not trusted: whatever is no frame of its turn ends the epoch, never more.
 */
export class MuxHost {
  readonly #host: Pick<Host, "clock" | "log">;
  readonly #sparing: SparingLog;
  readonly #channel: Connection;
  readonly #writer: MuxWriter;
  readonly #streams: MuxStreams;
  readonly #decoder = new MuxDecoder();
  readonly #ended = new AbortController();
  /** For the acknowledgement, while out of step; then for a guest that asks for a reset. */
  #search: PatternSearch | undefined;
  #requestSearch = new PatternSearch(RESET_REQUEST);
  #nonce = new Uint8Array(NONCE_BYTES);
  /** Resolves at the next change between in step, out of step and ended. */
  #changed = Promise.withResolvers<void>();

  constructor(host: Pick<Host, "clock" | "log">, channel: Connection) {
    this.#host = host;
    this.#sparing = new SparingLog(host);
    this.#channel = channel;
    this.#writer = new MuxWriter(channel);
    this.#streams = new MuxStreams(this.#writer);
  }

  /** Whether streams can be opened now. */
  get isInStep(): boolean {
    return this.#search === undefined && this.#decoder.inStep && !this.#ended.signal.aborted;
  }

  /** Resolves when streams can be opened, or when the channel has ended. */
  async untilInStep(): Promise<void> {
    while (!this.isInStep && !this.#ended.signal.aborted) await this.#changed.promise;
  }

  /**
   * The stream can be used at once; what is written before the guest has accepted it is lost if it refuses.
   *
   * @param port in the guest
   * @throws {BangerError} `guest_unreachable` while out of step; `in_use` with too many streams open
   */
  open(port: number): MuxStream {
    if (!this.isInStep) {
      throw new BangerError(
        "guest_unreachable",
        "Cannot open a stream to the guest: its agent does not answer yet",
      );
    }
    if (this.#streams.isFull) {
      throw new BangerError("in_use", "Cannot open a stream to the guest: too many are open");
    }
    const stream = this.#streams.add(this.#streams.nextId());
    this.#writer.post(MUX_FRAME.open, stream.id, Uint8Array.of(port >> 8, port & 0xff));
    return stream;
  }

  /** Serves the channel until it ends, whichever way; then every stream is closed. */
  async run(): Promise<void> {
    this.#beginEpoch();
    const resets = this.#keepInStep();
    try {
      for (let count; (count = await this.#channel.read(this.#decoder.space())) !== null;) this.#take(count);
    } catch (failure) {
      this.#host.log("debug", "guest stream ended", { reason: reasonOf(failure) });
    } finally {
      this.#ended.abort();
      this.#channel.close();
      this.#writer.clear();
      this.#streams.closeAll("the connection to the guest is lost");
      this.#notify();
      await resets;
    }
  }

  /** Sends resets while out of step, for as long as the channel lasts. */
  async #keepInStep(): Promise<void> {
    while (!this.#ended.signal.aborted) {
      if (!this.#search) {
        await this.#changed.promise;
        await this.#pause(EPOCH_PAUSE_MS);
        continue;
      }
      this.#writer.postFlush(MUX_FRAME.reset, this.#nonce);
      await Promise.race([this.#pause(RESET_AGAIN_MS), this.#changed.promise]);
      if (this.#search) await this.#pause(EPOCH_PAUSE_MS);
    }
  }

  async #pause(ms: number): Promise<void> {
    // It rejects at the channel's end, which the caller looks for itself.
    await this.#host.clock.sleep(ms, this.#ended.signal).catch(() => {});
  }

  #notify(): void {
    const before = this.#changed;
    this.#changed = Promise.withResolvers<void>();
    before.resolve();
  }

  #beginEpoch(): void {
    this.#streams.closeAll("the guest's agent started anew");
    this.#writer.clear();
    this.#nonce = crypto.getRandomValues(new Uint8Array(NONCE_BYTES));
    this.#search = new PatternSearch(encodeMuxFrame(MUX_FRAME.resetAck, 0, this.#nonce));
    this.#requestSearch = new PatternSearch(RESET_REQUEST);
  }

  #take(count: number): void {
    try {
      for (const frame of this.#frames(count)) {
        if (!this.#takeFrame(frame)) return;
      }
      if (!this.#search && !this.#decoder.inStep) this.#outOfStep("bytes that are no frame");
    } catch (failure) {
      this.#outOfStep(reasonOf(failure));
    }
  }

  /** None while the acknowledgement has not come. */
  *#frames(count: number): Generator<MuxFrame> {
    if (!this.#search) {
      yield* this.#decoder.take(count);
      return;
    }
    const bytes = this.#decoder.takeRaw(count);
    const end = this.#search.push(bytes);
    if (end === undefined) {
      if (this.#requestSearch.push(bytes) !== undefined) this.#outOfStep("the agent asks for a reset");
      return;
    }
    this.#search = undefined;
    const frames = this.#decoder.resume(bytes.subarray(end));
    this.#notify();
    yield* frames;
  }

  /** @returns false where the epoch is over */
  #takeFrame(frame: MuxFrame): boolean {
    if (frame.type !== MUX_FRAME.resetAck) {
      this.#streams.take(frame);
      return true;
    }
    if (frame.payload.length === NONCE_BYTES && frame.payload.every((byte, i) => byte === this.#nonce[i])) {
      return true;
    }
    this.#outOfStep("the agent started anew");
    return false;
  }

  #outOfStep(reason: string): void {
    // A guest can be out of step as often as it likes.
    this.#sparing.tell("info", "guest stream out of step", { reason });
    this.#beginEpoch();
    this.#notify();
  }
}
