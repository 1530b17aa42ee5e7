import { BangerError } from "../../base/errors.ts";

/** A claim beyond it is refused before anything is allocated. */
export const MAX_FRAME_BYTES = 1024 * 1024;
export const FRAME_HEADER_BYTES = 5;

export interface Frame {
  readonly type: number;
  /** Valid until the next `push`. Of a streamed type: a part of it, in order. */
  readonly payload: Uint8Array;
}

export function putFrameHeader(into: Uint8Array, at: number, type: number, payloadBytes: number): void {
  into[at] = type;
  new DataView(into.buffer, into.byteOffset + at).setUint32(1, payloadBytes);
}

export function encodeFrame(type: number, payload: Uint8Array): Uint8Array {
  const frame = new Uint8Array(FRAME_HEADER_BYTES + payload.length);
  putFrameHeader(frame, 0, type, payload.length);
  frame.set(payload, FRAME_HEADER_BYTES);
  return frame;
}

/** Frames from bytes that come in any pieces. */
export class FrameDecoder {
  readonly #streamed: readonly number[];
  readonly #header = new Uint8Array(FRAME_HEADER_BYTES);
  #headerFilled = 0;
  /** Of a payload that is not streamed and did not come whole. */
  #collected: Uint8Array | undefined;
  /** Of the payload, still to come. */
  #left = 0;

  /** @param streamed types whose payload is nothing but bytes: they are passed on as they come */
  constructor(streamed: readonly number[] = []) {
    this.#streamed = streamed;
  }

  /** @throws {BangerError} `corrupt_data` on a frame over `MAX_FRAME_BYTES` */
  *push(bytes: Uint8Array): Generator<Frame> {
    for (let at = 0; at < bytes.length;) {
      if (this.#headerFilled < FRAME_HEADER_BYTES) {
        at += this.#takeHeader(bytes.subarray(at));
        if (this.#headerFilled < FRAME_HEADER_BYTES) return;
        if (this.#left > 0) continue;
      }
      const part = bytes.subarray(at, at + this.#left);
      at += part.length;
      const frame = this.#takePayload(part);
      if (frame) yield frame;
    }
  }

  /** @returns bytes taken */
  #takeHeader(bytes: Uint8Array): number {
    const part = bytes.subarray(0, FRAME_HEADER_BYTES - this.#headerFilled);
    this.#header.set(part, this.#headerFilled);
    this.#headerFilled += part.length;
    if (this.#headerFilled === FRAME_HEADER_BYTES) {
      this.#left = new DataView(this.#header.buffer).getUint32(1);
      if (this.#left > MAX_FRAME_BYTES) {
        throw new BangerError("corrupt_data", `Cannot read a frame: it claims ${this.#left} bytes`);
      }
    }
    return part.length;
  }

  /** @returns undefined where the frame is not complete and not streamed */
  #takePayload(part: Uint8Array): Frame | undefined {
    const type = this.#header[0]!;
    const isWhole = this.#collected === undefined && part.length === this.#left;
    this.#left -= part.length;
    if (this.#left === 0) this.#headerFilled = 0;
    if (isWhole || this.#streamed.includes(type)) return { type, payload: part };
    this.#collected ??= new Uint8Array(part.length + this.#left);
    this.#collected.set(part, this.#collected.length - this.#left - part.length);
    if (this.#left > 0) return undefined;
    const payload = this.#collected;
    this.#collected = undefined;
    return { type, payload };
  }
}
