import { deepEqual, equal, throws } from "node:assert/strict";
import { BangerError } from "../../../lib/base/errors.ts";
import { encodeFrame, type Frame, FrameDecoder, MAX_FRAME_BYTES } from "../../../lib/guest/wire/frames.ts";
import { randomBytes, seededRandom } from "./memory_connection.ts";

function copyOf({ type, payload }: Frame): [number, number[]] {
  return [type, [...payload]];
}

Deno.test("frames come out as they went in, whatever the pieces", () => {
  const random = seededRandom(11);
  for (let round = 0; round < 50; round++) {
    const frames = Array.from({ length: 8 }, () => ({
      type: Math.floor(random() * 256),
      payload: randomBytes(random, Math.floor(random() * 40)),
    }));
    const wire = frames.flatMap(({ type, payload }) => [...encodeFrame(type, payload)]);
    const decoder = new FrameDecoder();
    const seen: [number, number[]][] = [];
    for (let at = 0; at < wire.length;) {
      const piece = Uint8Array.from(wire.slice(at, at + 1 + Math.floor(random() * 30)));
      for (const frame of decoder.push(piece)) seen.push(copyOf(frame));
      at += piece.length;
    }
    deepEqual(seen, frames.map(copyOf));
  }
});

Deno.test("a streamed type's payload comes in parts, others whole", () => {
  const decoder = new FrameDecoder([2]);
  const wire = [...encodeFrame(2, Uint8Array.of(1, 2, 3)), ...encodeFrame(3, Uint8Array.of(4, 5, 6))];
  const seen: [number, number[]][] = [];
  for (const piece of [wire.slice(0, 6), wire.slice(6, 14), wire.slice(14)]) {
    for (const frame of decoder.push(Uint8Array.from(piece))) seen.push(copyOf(frame));
  }
  deepEqual(seen, [[2, [1]], [2, [2, 3]], [3, [4, 5, 6]]]);
});

Deno.test("empty payloads are frames, too", () => {
  const decoder = new FrameDecoder([2]);
  const wire = Uint8Array.from([...encodeFrame(2, new Uint8Array(0)), ...encodeFrame(3, new Uint8Array(0))]);
  deepEqual([...decoder.push(wire)].map(copyOf), [[2, []], [3, []]]);
});

Deno.test("a frame that claims more than the cap is refused before anything is allocated", () => {
  const header = Uint8Array.of(1, 0xff, 0xff, 0xff, 0xff);
  throws(() => [...new FrameDecoder().push(header)], (failure) => {
    return failure instanceof BangerError && failure.code === "corrupt_data";
  });
  const largest = new FrameDecoder();
  equal(
    [...largest.push(encodeFrame(1, new Uint8Array(MAX_FRAME_BYTES)))][0]?.payload.length,
    MAX_FRAME_BYTES,
  );
});
