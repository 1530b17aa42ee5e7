/**
 * Frames of the mux, which carries many byte streams over one virtio-serial port. All numbers big-endian.
 *
 * ```text
 *   0      1            5                9           9+n          13+n
 *   ┌──────┬────────────┬────────────────┬───────────┬────────────┐
 *   │ type │ stream u32 │ length n (u32) │ payload   │ ~n (u32)   │   n at most 32 KiB
 *   └──────┴────────────┴────────────────┴───────────┴────────────┘
 *   ┌──────┐
 *   │ 0x00 │  no-op: a single byte
 *   └──────┘
 * ```
 *
 * | type      | sent by | stream | payload                                                     |
 * | --------- | ------- | ------ | ----------------------------------------------------------- |
 * | reset     | host    | 0      | nonce (16 bytes): a new epoch, all streams are gone          |
 * | reset-ack | guest   | 0      | the nonce                                                    |
 * | open      | host    | new    | guest port (u16); both sides may send `WINDOW_BYTES` at once |
 * | data      | both    | open   | 1 byte to 32 KiB, within the window                          |
 * | window    | both    | open   | u32: so many bytes more; the guest's first one accepts       |
 * | end       | both    | open   | none: the sender's direction ends                            |
 * | close     | both    | open   | reason (u8): the stream is gone in both directions           |
 *
 * **Getting in step.** A virtio-serial port keeps bytes of earlier connections, restores and agents, and a
 * frame may be cut off anywhere. So:
 * - The host begins an epoch (on every connection, and when it reads what is no frame) by `FLUSH_BYTES`
 *   no-ops and a reset with a random nonce. The no-ops fill up a frame that was cut off; the complement
 *   keeps it from being delivered.
 * - A guest that is out of step skips everything up to more zero bytes in a row than a frame can hold, then
 *   takes the next frame, if it is a reset. Then it drops its streams and sends the acknowledgement.
 * - The host drops everything up to the acknowledgement's exact bytes. The nonce is random, so nothing
 *   older looks like it. It sends reset again where none comes in a while (the agent may have started
 *   anew in between).
 * - An agent that starts sends no-ops, too: they make the host complete a frame cut off by the agent
 *   before, and a `reset-ack` with a nonce of zeros, which is never current and so makes the host start over.
 */
import { BangerError } from "../../base/errors.ts";

export const MUX_FRAME = {
  noop: 0x00,
  reset: 0x01,
  resetAck: 0x02,
  open: 0x03,
  data: 0x04,
  window: 0x05,
  end: 0x06,
  close: 0x07,
} as const;

export const MAX_MUX_PAYLOAD_BYTES = 32 * 1024;
export const MUX_OVERHEAD_BYTES = 13;
const HEADER_BYTES = 9;
export const NONCE_BYTES = 16;

/** More zeros in a row than any frame has. */
const ZEROS_IN_STEP = MAX_MUX_PAYLOAD_BYTES + MUX_OVERHEAD_BYTES;
/** Enough to fill up any cut-off frame and still be a run of more than `ZEROS_IN_STEP`. */
export const FLUSH_BYTES = 2 * (ZEROS_IN_STEP + 1);

/** What a stream may have under way in each direction before the reader has taken it. */
export const WINDOW_BYTES = 256 * 1024;
/** At a time, in one mux. With the window it bounds what a mux keeps in memory. */
export const MAX_STREAMS = 256;

/** Why a stream was closed. */
export const CLOSE_REASON = { aborted: 0, refused: 1, tooMany: 2 } as const;

export interface MuxFrame {
  readonly type: number;
  readonly stream: number;
  /** Valid until the next `push`. */
  readonly payload: Uint8Array;
}

export function encodeMuxFrame(type: number, stream: number, payload: Uint8Array): Uint8Array {
  const frame = new Uint8Array(MUX_OVERHEAD_BYTES + payload.length);
  const view = new DataView(frame.buffer);
  frame[0] = type;
  view.setUint32(1, stream);
  view.setUint32(5, payload.length);
  frame.set(payload, HEADER_BYTES);
  view.setUint32(HEADER_BYTES + payload.length, ~payload.length >>> 0);
  return frame;
}

/**
 * Takes bytes in any pieces and gives frames. Out of step it gives nothing, until a run of no-ops and a
 * reset came, or until `resume` after the caller found its place itself.
 */
export class MuxDecoder {
  readonly #frame = new Uint8Array(MUX_OVERHEAD_BYTES + MAX_MUX_PAYLOAD_BYTES);
  readonly #view = new DataView(this.#frame.buffer);
  #filled = 0;
  #zeros = 0;
  #inStep = false;
  /** How often it fell out of step. */
  #losses = 0;

  get inStep(): boolean {
    return this.#inStep;
  }

  get losses(): number {
    return this.#losses;
  }

  /** The next byte pushed begins a frame. */
  resume(): void {
    this.#inStep = true;
    this.#filled = 0;
    this.#zeros = 0;
  }

  lose(): void {
    if (this.#inStep) this.#losses++;
    this.#inStep = false;
    this.#filled = 0;
    this.#zeros = 0;
  }

  *push(bytes: Uint8Array): Generator<MuxFrame> {
    for (let at = 0; at < bytes.length;) {
      if (!this.#inStep && this.#filled === 0) {
        at = this.#skipToReset(bytes, at);
        if (at === bytes.length) return;
      }
      if (this.#filled === 0 && bytes[at] === MUX_FRAME.noop) {
        at++;
        continue;
      }
      at += this.#take(bytes.subarray(at));
      if (this.#filled < HEADER_BYTES || this.#filled < this.#size()) continue;
      const frame = this.#complete();
      if (frame) yield frame;
    }
  }

  /** @returns where a frame may begin: after a long run of zeros, if that is here already */
  #skipToReset(bytes: Uint8Array, from: number): number {
    for (let at = from; at < bytes.length; at++) {
      if (bytes[at] === 0) this.#zeros++;
      else if (this.#zeros > ZEROS_IN_STEP && bytes[at] === MUX_FRAME.reset) return at;
      else this.#zeros = 0;
    }
    return bytes.length;
  }

  /** @returns bytes taken towards the header, then towards the rest of the frame */
  #take(bytes: Uint8Array): number {
    const wanted = (this.#filled < HEADER_BYTES ? HEADER_BYTES : this.#size()) - this.#filled;
    const part = bytes.subarray(0, wanted);
    this.#frame.set(part, this.#filled);
    this.#filled += part.length;
    if (this.#filled === HEADER_BYTES && !this.#isHeaderValid()) {
      this.lose();
    }
    return part.length;
  }

  #size(): number {
    return MUX_OVERHEAD_BYTES + this.#view.getUint32(5);
  }

  #isHeaderValid(): boolean {
    const type = this.#frame[0]!;
    if (!this.#inStep && type !== MUX_FRAME.reset) return false;
    return type <= MUX_FRAME.close && this.#view.getUint32(5) <= MAX_MUX_PAYLOAD_BYTES;
  }

  #complete(): MuxFrame | undefined {
    const length = this.#view.getUint32(5);
    if (this.#view.getUint32(HEADER_BYTES + length) !== (~length >>> 0)) {
      this.lose();
      return undefined;
    }
    this.#inStep = true;
    this.#filled = 0;
    this.#zeros = 0;
    return {
      type: this.#frame[0]!,
      stream: this.#view.getUint32(1),
      payload: this.#frame.subarray(HEADER_BYTES, HEADER_BYTES + length),
    };
  }
}

/** Finds exact bytes in a stream that comes in any pieces. */
export class PatternSearch {
  readonly #pattern: Uint8Array;
  #tail = new Uint8Array(0);

  constructor(pattern: Uint8Array) {
    this.#pattern = pattern;
  }

  /** @returns how many of `bytes` end with the pattern's end, or undefined if it has not come yet */
  push(bytes: Uint8Array): number | undefined {
    const joined = new Uint8Array(this.#tail.length + bytes.length);
    joined.set(this.#tail);
    joined.set(bytes, this.#tail.length);
    for (
      let at = joined.indexOf(this.#pattern[0]!);
      at >= 0;
      at = joined.indexOf(this.#pattern[0]!, at + 1)
    ) {
      if (at + this.#pattern.length > joined.length) break;
      if (this.#pattern.every((byte, i) => joined[at + i] === byte)) {
        return at + this.#pattern.length - this.#tail.length;
      }
    }
    this.#tail = joined.slice(Math.max(0, joined.length - this.#pattern.length + 1));
    return undefined;
  }
}

/** @throws {BangerError} `corrupt_data` */
export function parseU32(payload: Uint8Array): number {
  if (payload.length !== 4) {
    throw new BangerError("corrupt_data", "Cannot read a mux frame: its payload is no u32");
  }
  return new DataView(payload.buffer, payload.byteOffset, 4).getUint32(0);
}
