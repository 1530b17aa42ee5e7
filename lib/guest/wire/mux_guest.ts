import { reasonOf } from "../../base/errors.ts";
import type { Clock, Connection, Log } from "../../base/host.ts";
import { CLOSE_REASON, MUX_FRAME, MuxDecoder, type MuxFrame, NO_NONCE } from "./mux_frames.ts";
import { MuxStreams } from "./mux_streams.ts";
import { MuxWriter } from "./mux_writer.ts";

const ASK_AFTER_MS = 300;

/** @returns what serves a stream to that port, or undefined where nothing listens on it */
export type AcceptStream = (port: number) => ((stream: Connection) => void) | undefined;

/** The guest's side of a mux on a virtio-serial port: it follows the host's epochs and takes its streams. */
export class MuxGuest {
  readonly #clock: Pick<Clock, "sleep">;
  readonly #log: Log;
  readonly #ended = new AbortController();
  readonly #channel: Connection;
  readonly #accept: AcceptStream;
  readonly #writer: MuxWriter;
  readonly #streams: MuxStreams;
  readonly #decoder = new MuxDecoder();

  constructor(
    { clock, log }: { clock: Pick<Clock, "sleep">; log: Log },
    channel: Connection,
    accept: AcceptStream,
  ) {
    this.#clock = clock;
    this.#log = log;
    this.#channel = channel;
    this.#accept = accept;
    this.#writer = new MuxWriter(channel);
    this.#streams = new MuxStreams(this.#writer);
  }

  /** Serves the channel until it ends; then every stream is closed. A port of its own never ends. */
  async run(): Promise<void> {
    this.#askSoon();
    try {
      for (let count; (count = await this.#channel.read(this.#decoder.space())) !== null;) this.#take(count);
    } finally {
      this.#ended.abort();
      this.#writer.clear();
      this.#streams.closeAll("the connection to the host is lost");
    }
  }

  #take(count: number): void {
    const losses = this.#decoder.losses;
    try {
      for (const frame of this.#decoder.take(count)) this.#takeFrame(frame);
    } catch (failure) {
      this.#log("warn", "host stream out of step", { reason: reasonOf(failure) });
      this.#decoder.lose();
    }
    // Back in step already: a reset came behind the loss and did all this.
    if (this.#decoder.losses === losses || this.#decoder.inStep) return;
    this.#streams.closeAll("the host's side started anew");
    this.#writer.clear();
    this.#askSoon();
  }

  /** @throws {BangerError} `corrupt_data` */
  #takeFrame(frame: MuxFrame): void {
    if (frame.type === MUX_FRAME.reset) {
      this.#streams.closeAll("the host's side started anew");
      this.#writer.clear();
      this.#writer.post(MUX_FRAME.resetAck, 0, frame.payload);
    } else if (frame.type === MUX_FRAME.open) {
      this.#open(frame);
    } else {
      this.#streams.take(frame);
    }
  }

  #open({ stream: id, payload }: MuxFrame): void {
    const port = payload.length === 2 ? payload[0]! << 8 | payload[1]! : 0;
    const serve = this.#accept(port);
    if (!serve || this.#streams.isFull) {
      const reason = serve ? CLOSE_REASON.tooMany : CLOSE_REASON.refused;
      this.#streams.skip(id);
      this.#writer.post(MUX_FRAME.close, id, Uint8Array.of(reason));
      return;
    }
    const stream = this.#streams.add(id);
    this.#writer.addWindow(id, 0);
    serve(stream);
  }

  /** Mostly the host's reset is on its way already: then asking would only bring another one. */
  #askSoon(): void {
    this.#clock.sleep(ASK_AFTER_MS, this.#ended.signal).then(() => {
      if (!this.#decoder.inStep) this.#writer.postFlush(MUX_FRAME.resetAck, NO_NONCE);
    }, () => {
      // The channel has ended.
    });
  }
}
