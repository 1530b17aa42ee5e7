import { BangerError } from "../../base/errors.ts";
import { CLOSE_REASON, MAX_STREAMS, MUX_FRAME, type MuxFrame, parseU32 } from "./mux_frames.ts";
import { MuxStream } from "./mux_stream.ts";
import type { MuxWriter } from "./mux_writer.ts";

/** The streams of one epoch: what both sides of a mux do alike. */
export class MuxStreams {
  readonly #writer: MuxWriter;
  readonly #open = new Map<number, MuxStream>();
  #highestId = 0;

  constructor(writer: MuxWriter) {
    this.#writer = writer;
  }

  get isFull(): boolean {
    return this.#open.size >= MAX_STREAMS;
  }

  /** @returns an id that this epoch has not seen */
  nextId(): number {
    if (this.#highestId === 0xffff_ffff) {
      throw new BangerError("internal", "Cannot open a stream: no id is left");
    }
    return this.#highestId + 1;
  }

  /** Remembers a refused stream's id, so that frames on their way to it are no violation. */
  skip(id: number): void {
    if (id <= this.#highestId) {
      throw new BangerError("corrupt_data", "Cannot open a stream: its id was used before");
    }
    this.#highestId = id;
  }

  add(id: number): MuxStream {
    this.skip(id);
    const stream = new MuxStream(id, this.#writer, (gone) => this.#open.delete(gone));
    this.#open.set(id, stream);
    return stream;
  }

  /** @throws {BangerError} `corrupt_data` */
  take({ type, stream: id, payload }: MuxFrame): void {
    const stream = this.#open.get(id);
    if (!stream) {
      // It was closed here while the frame was on its way.
      if (id > 0 && id <= this.#highestId) return;
      throw new BangerError("corrupt_data", "Cannot take a mux frame: its stream was never opened");
    }
    if (type === MUX_FRAME.data) stream.takeData(payload);
    else if (type === MUX_FRAME.window) stream.takeWindow(parseU32(payload));
    else if (type === MUX_FRAME.end) stream.takeEnd();
    else if (type === MUX_FRAME.close) stream.takeClose(closeText(payload));
    else throw new BangerError("corrupt_data", "Cannot take a mux frame: its type does not belong here");
  }

  /** @param why completes "Cannot use the stream to the guest: …" */
  closeAll(why: string): void {
    for (const stream of [...this.#open.values()]) stream.takeClose(why);
    this.#open.clear();
    this.#highestId = 0;
  }
}

function closeText(payload: Uint8Array): string {
  if (payload[0] === CLOSE_REASON.refused) return "nothing in the guest takes streams on that port";
  if (payload[0] === CLOSE_REASON.tooMany) return "the guest has too many open";
  return "the other side closed it";
}
