import { BangerError } from "../../base/errors.ts";

/** A claim beyond it is refused before anything is allocated. */
export const MAX_FRAME_BYTES = 1024 * 1024;
const HEADER_BYTES = 5;

export interface Frame {
  readonly type: number;
  /** Valid until the next `push`. */
  readonly payload: Uint8Array;
}

export function encodeFrameHeader(type: number, payloadBytes: number): Uint8Array {
  const header = new Uint8Array(HEADER_BYTES);
  header[0] = type;
  new DataView(header.buffer).setUint32(1, payloadBytes);
  return header;
}

/** Frames from bytes that come in any pieces. */
export class FrameDecoder {
  readonly #header = new Uint8Array(HEADER_BYTES);
  #headerFilled = 0;
  #payload: Uint8Array | undefined;
  #payloadFilled = 0;

  /** @throws {BangerError} `corrupt_data` on a frame over `MAX_FRAME_BYTES` */
  *push(bytes: Uint8Array): Generator<Frame> {
    for (let at = 0; at < bytes.length;) {
      const wanted = HEADER_BYTES - this.#headerFilled;
      if (wanted > 0) {
        const part = bytes.subarray(at, at + wanted);
        this.#header.set(part, this.#headerFilled);
        this.#headerFilled += part.length;
        at += part.length;
        if (this.#headerFilled < HEADER_BYTES) return;
      }
      const length = this.#length();
      if (!this.#payload && bytes.length - at >= length) {
        this.#headerFilled = 0;
        at += length;
        yield { type: this.#header[0]!, payload: bytes.subarray(at - length, at) };
        continue;
      }
      this.#payload ??= new Uint8Array(length);
      const part = bytes.subarray(at, at + length - this.#payloadFilled);
      this.#payload.set(part, this.#payloadFilled);
      this.#payloadFilled += part.length;
      at += part.length;
      if (this.#payloadFilled === length) yield this.#complete();
    }
  }

  /** Whether the bytes so far end between two frames. */
  get isBetweenFrames(): boolean {
    return this.#headerFilled === 0;
  }

  #complete(): Frame {
    const payload = this.#payload!;
    this.#payload = undefined;
    this.#payloadFilled = 0;
    this.#headerFilled = 0;
    return { type: this.#header[0]!, payload };
  }

  #length(): number {
    const length = new DataView(this.#header.buffer).getUint32(1);
    if (length <= MAX_FRAME_BYTES) return length;
    throw new BangerError("corrupt_data", `Cannot read a frame: it claims ${length} bytes`);
  }
}
