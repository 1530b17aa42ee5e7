import { deepEqual, equal, ok } from "node:assert/strict";
import {
  encodeMuxFrame,
  FLUSH_BYTES,
  MAX_MUX_PAYLOAD_BYTES,
  MUX_FRAME,
  MuxDecoder,
  NONCE_BYTES,
  PatternSearch,
} from "../../../lib/guest/wire/mux_frames.ts";
import { randomBytes, seededRandom } from "./memory_connection.ts";

interface Seen {
  readonly type: number;
  readonly stream: number;
  readonly payload: Uint8Array;
}

/** Gives bytes to a decoder as reads of at most `piece()` would. */
function decodeAll(decoder: MuxDecoder, bytes: Uint8Array, piece: () => number = () => Infinity): Seen[] {
  const seen: Seen[] = [];
  for (let at = 0; at < bytes.length;) {
    const space = decoder.space();
    ok(space.length > 0, "a decoder always has room");
    const part = bytes.subarray(at, at + Math.max(1, Math.min(space.length, piece())));
    space.set(part);
    at += part.length;
    for (const { type, stream, payload } of decoder.take(part.length)) {
      seen.push({ type, stream, payload: payload.slice() });
    }
  }
  return seen;
}

function join(...parts: Uint8Array[]): Uint8Array {
  return Uint8Array.from(parts.flatMap((part) => [...part]));
}

const nonce = Uint8Array.from({ length: NONCE_BYTES }, (_, i) => i + 1);
const reset = encodeMuxFrame(MUX_FRAME.reset, 0, nonce);
const flush = new Uint8Array(FLUSH_BYTES);

Deno.test("out of step nothing is delivered, however well it looks", () => {
  const decoder = new MuxDecoder();
  const wellFormed = join(reset, encodeMuxFrame(MUX_FRAME.data, 1, Uint8Array.of(1, 2, 3)));
  deepEqual(decodeAll(decoder, wellFormed), []);
  equal(decoder.inStep, false);
});

Deno.test("a flush and a reset bring it in step, then frames come", () => {
  const decoder = new MuxDecoder();
  const data = encodeMuxFrame(MUX_FRAME.data, 7, Uint8Array.of(1, 2, 3));
  const seen = decodeAll(decoder, join(flush, reset, data, Uint8Array.of(0, 0), data));
  deepEqual(seen.map(({ type, stream }) => [type, stream]), [
    [MUX_FRAME.reset, 0],
    [MUX_FRAME.data, 7],
    [MUX_FRAME.data, 7],
  ]);
});

Deno.test("the largest payload of zeros is no flush", () => {
  const decoder = new MuxDecoder();
  const zeros = encodeMuxFrame(MUX_FRAME.data, 1, new Uint8Array(MAX_MUX_PAYLOAD_BYTES));
  deepEqual(decodeAll(decoder, join(zeros, zeros, reset)), [], "out of step");
  equal(decodeAll(decoder, join(flush, reset, zeros)).length, 2, "in step");
});

Deno.test("a frame cut off anywhere is filled up by the flush and never delivered", () => {
  const data = encodeMuxFrame(MUX_FRAME.data, 1, Uint8Array.from({ length: 300 }, () => 0xee));
  for (let cut = 1; cut < data.length; cut += cut < 20 || cut > 300 ? 1 : 23) {
    const decoder = new MuxDecoder();
    decodeAll(decoder, join(flush, reset));
    const seen = decodeAll(decoder, join(data.subarray(0, cut), flush, reset, data));
    deepEqual(seen.map(({ type }) => type), [MUX_FRAME.reset, MUX_FRAME.data], `cut after ${cut} bytes`);
    equal(seen[1]!.payload.length, 300);
  }
});

Deno.test("the largest frame cut off is filled up, too", () => {
  const largest = encodeMuxFrame(MUX_FRAME.data, 1, randomBytes(seededRandom(1), MAX_MUX_PAYLOAD_BYTES));
  for (const cut of [5, 9, 10, 1000, largest.length - 1]) {
    const decoder = new MuxDecoder();
    decodeAll(decoder, join(flush, reset));
    const seen = decodeAll(decoder, join(largest.subarray(0, cut), flush, reset));
    deepEqual(seen.map(({ type }) => type), [MUX_FRAME.reset]);
  }
});

Deno.test("after any garbage, a flush and a reset bring it in step", () => {
  for (let seed = 0; seed < 60; seed++) {
    const random = seededRandom(seed);
    const decoder = new MuxDecoder();
    if (random() < 0.5) decodeAll(decoder, join(flush, reset));
    // Bytes of few values look like headers far more often.
    const few = random() < 0.5;
    const garbage = randomBytes(random, Math.floor(random() * 3000)).map((byte) => few ? byte & 7 : byte);
    const piece = () => 1 + Math.floor(random() * 400);
    decodeAll(decoder, garbage, piece);
    const seen = decodeAll(
      decoder,
      join(flush, reset, encodeMuxFrame(MUX_FRAME.end, 3, new Uint8Array(0))),
      piece,
    );
    deepEqual(seen.slice(-2).map(({ type }) => type), [MUX_FRAME.reset, MUX_FRAME.end], `seed ${seed}`);
    deepEqual(seen.at(-2)!.payload, nonce);
  }
});

Deno.test("frames come out as they went in, whatever the reads", () => {
  for (let seed = 0; seed < 20; seed++) {
    const random = seededRandom(seed);
    const decoder = new MuxDecoder();
    decodeAll(decoder, join(flush, reset));
    const frames = Array.from({ length: 30 }, () => ({
      type: 1 + Math.floor(random() * 7),
      stream: Math.floor(random() * 2 ** 32),
      payload: randomBytes(random, Math.floor(random() ** 4 * MAX_MUX_PAYLOAD_BYTES)),
    }));
    const wire = join(...frames.map(({ type, stream, payload }) => encodeMuxFrame(type, stream, payload)));
    const most = 10 ** (1 + Math.floor(random() * 5));
    deepEqual(decodeAll(decoder, wire, () => 1 + Math.floor(random() * most)), frames);
  }
});

Deno.test("PatternSearch finds its pattern across pieces, and only there", () => {
  for (let seed = 0; seed < 200; seed++) {
    const random = seededRandom(seed);
    const pattern = randomBytes(random, 8).map((byte) => byte & 1);
    const before = randomBytes(random, Math.floor(random() * 60)).map((byte) => byte & 1);
    const bytes = join(before, pattern, Uint8Array.of(9, 9, 9));
    const expected = bytes.findIndex((_, at) => pattern.every((byte, i) => bytes[at + i] === byte)) +
      pattern.length;
    const search = new PatternSearch(pattern);
    let end: number | undefined;
    for (let at = 0; at < bytes.length && end === undefined;) {
      const piece = bytes.subarray(at, at + 1 + Math.floor(random() * 12));
      const found = search.push(piece);
      if (found !== undefined) end = at + found;
      at += piece.length;
    }
    equal(end, expected, `seed ${seed}`);
  }
});
