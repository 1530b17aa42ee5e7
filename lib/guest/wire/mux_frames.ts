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
 * | window    | both    | open   | u32: so many bytes more                                     |
 * | end       | both    | open   | none: the sender's direction ends                            |
 * | close     | both    | open   | reason (u8): the stream is gone in both directions           |
 *
 * Whatever the guest sends first on a stream, but close, says that it has taken it; with nothing else to
 * send it sends a window of 0.
 *
 * **Getting in step.** A virtio-serial port keeps bytes of earlier connections, restores and agents, and a
 * frame may be cut off anywhere. So:
 * - The host begins an epoch (on every connection, and when it reads what is no frame) by `FLUSH_BYTES`
 *   no-ops and a reset with a random nonce. The no-ops fill up a frame that was cut off; the complement
 *   keeps it from being delivered.
 * - A guest that is out of step skips everything up to more zero bytes in a row than a frame can hold, then
 *   takes the next frame, if it is a reset. Then it drops its streams and sends the acknowledgement.
 * - The host drops everything up to the acknowledgement's exact bytes. The nonce is random, so nothing
 *   older looks like it.
 * - A guest that is out of step and meets no reset for a moment (its agent has started anew, or the reset
 *   was lost with the agent before) asks for one: no-ops, which make the host complete a frame that was cut
 *   off, and a reset-ack with a nonce of zeros, which is never the current one. The host answers with a
 *   reset, whether it was in step or not. As a last resort it sends one again every 10 s.
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

/** Nonce of a guest that asks for a reset. */
export const NO_NONCE = new Uint8Array(NONCE_BYTES);

/** Why a stream was closed. */
export const CLOSE_REASON = { aborted: 0, refused: 1, tooMany: 2 } as const;

export interface MuxFrame {
  readonly type: number;
  readonly stream: number;
  /** Valid until the decoder's next `space`. */
  readonly payload: Uint8Array;
}

export function encodeMuxFrame(type: number, stream: number, payload: Uint8Array): Uint8Array {
  const frame = new Uint8Array(MUX_OVERHEAD_BYTES + payload.length);
  putMuxFrame(frame, 0, type, stream, payload);
  return frame;
}

/** @returns bytes written to `into`, which has room for them */
export function putMuxFrame(
  into: Uint8Array,
  at: number,
  type: number,
  stream: number,
  payload: Uint8Array,
): number {
  const view = new DataView(into.buffer, into.byteOffset + at, MUX_OVERHEAD_BYTES + payload.length);
  view.setUint8(0, type);
  view.setUint32(1, stream);
  view.setUint32(5, payload.length);
  into.set(payload, at + HEADER_BYTES);
  view.setUint32(HEADER_BYTES + payload.length, ~payload.length >>> 0);
  return view.byteLength;
}

/** All that one stream may have under way, so that one burst is read at once, and some more; a multiple of 4. */
const DECODER_BYTES = 12 * (MUX_OVERHEAD_BYTES + MAX_MUX_PAYLOAD_BYTES);

/**
 * Frames from bytes that come in any pieces. They are read into its own buffer (`space`, then `take`), so
 * that a payload is copied only once, by whoever keeps it.
 *
 * Out of step it gives nothing, until a run of no-ops and a reset came, or until `resume` after the caller
 * found its place itself.
 */
export class MuxDecoder {
  readonly #buffer = new Uint8Array(DECODER_BYTES);
  readonly #view = new DataView(this.#buffer.buffer);
  readonly #words = new Int32Array(this.#buffer.buffer, 0, this.#buffer.length >> 2);
  #start = 0;
  #end = 0;
  #zeros = 0;
  #inStep = false;
  #losses = 0;

  get inStep(): boolean {
    return this.#inStep;
  }

  /** How often it fell out of step. */
  get losses(): number {
    return this.#losses;
  }

  /** Where to read to, never empty; then tell `take` how much it was. Invalidates the payloads given before. */
  space(): Uint8Array {
    if (this.#start > 0) {
      this.#buffer.copyWithin(0, this.#start, this.#end);
      this.#end -= this.#start;
      this.#start = 0;
    }
    return this.#buffer.subarray(this.#end);
  }

  /** What was read, where the caller looks for its place itself: it is taken away. */
  takeRaw(count: number): Uint8Array {
    const bytes = this.#buffer.subarray(this.#end, this.#end + count);
    this.#start = this.#end = 0;
    return bytes;
  }

  /** The next byte begins a frame. @param rest what is there of it already, from `takeRaw` */
  *resume(rest: Uint8Array): Generator<MuxFrame> {
    this.#inStep = true;
    this.#zeros = 0;
    this.#start = rest.byteOffset;
    this.#end = rest.byteOffset;
    yield* this.take(rest.length);
  }

  /** What is read before the next reset is dropped. */
  lose(): void {
    if (this.#inStep) this.#losses++;
    this.#inStep = false;
    this.#zeros = 0;
  }

  *take(count: number): Generator<MuxFrame> {
    this.#end += count;
    while (this.#start < this.#end) {
      if (!this.#inStep && !this.#skipToReset()) return;
      if (this.#skipZeros() > 0) continue;
      if (this.#end - this.#start < HEADER_BYTES) return;
      if (!this.#isHeaderValid()) {
        this.#start += HEADER_BYTES;
        this.lose();
        continue;
      }
      if (this.#end - this.#start < this.#frameBytes()) return;
      const frame = this.#complete();
      if (frame) yield frame;
    }
  }

  /** @returns whether a reset may begin at the start, behind a long run of zeros */
  #skipToReset(): boolean {
    for (; this.#start < this.#end; this.#start++) {
      this.#zeros += this.#skipZeros();
      if (this.#start === this.#end) return false;
      if (this.#zeros > ZEROS_IN_STEP && this.#buffer[this.#start] === MUX_FRAME.reset) return true;
      this.#zeros = 0;
    }
    return false;
  }

  /** Four at a time: a guest reads a flush when it starts, and under emulation every step counts. */
  #skipZeros(): number {
    const from = this.#start;
    const wordsEnd = this.#end - 3;
    while (this.#start < this.#end && this.#buffer[this.#start] === 0) {
      this.#start++;
      if (this.#start % 4 !== 0) continue;
      while (this.#start < wordsEnd && this.#words[this.#start >> 2] === 0) this.#start += 4;
    }
    return this.#start - from;
  }

  #payloadBytes(): number {
    return this.#view.getUint32(this.#start + 5);
  }

  #frameBytes(): number {
    return MUX_OVERHEAD_BYTES + this.#payloadBytes();
  }

  #isHeaderValid(): boolean {
    const type = this.#buffer[this.#start]!;
    if (!this.#inStep && type !== MUX_FRAME.reset) return false;
    return type <= MUX_FRAME.close && this.#payloadBytes() <= MAX_MUX_PAYLOAD_BYTES;
  }

  /** @returns undefined where the complement says that the frame was cut off */
  #complete(): MuxFrame | undefined {
    const start = this.#start;
    const length = this.#payloadBytes();
    this.#start += this.#frameBytes();
    if (this.#view.getUint32(start + HEADER_BYTES + length) !== (~length >>> 0)) {
      this.lose();
      return undefined;
    }
    this.#inStep = true;
    this.#zeros = 0;
    return {
      type: this.#buffer[start]!,
      stream: this.#view.getUint32(start + 1),
      payload: this.#buffer.subarray(start + HEADER_BYTES, start + HEADER_BYTES + length),
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
