import { KIB } from "../../base/units.ts";
import { gunzipStream } from "./gzip_stream.ts";
import { GunzipSteps } from "./zlib_steps.ts";

const CHUNK_BYTES = 256 * KIB;

/** Gives the memory that output goes to next. */
export type NextBuffer = () => Uint8Array<ArrayBuffer> | Promise<Uint8Array<ArrayBuffer>>;

/** The same memory again and again. */
function reused(): NextBuffer {
  const buffer = new Uint8Array(CHUNK_BYTES);
  return () => buffer;
}

/**
 * Inflates gzip: one member or several; zeros behind the last one end it.
 *
 * node:zlib rather than DecompressionStream, which takes one member only and is slower.
 *
 * @param input its chunks may be reused when the next one is asked for
 * @param nextBuffer asked again once the chunk before was read
 * @returns chunks that begin where the buffers do; each but the last fills its own
 * @throws zlib's own error for a truncated or damaged stream, and for what is neither a member nor
 * begins with a zero behind the last member
 */
export async function* gunzip(
  input: AsyncIterable<Uint8Array>,
  nextBuffer: NextBuffer = reused(),
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  using steps = GunzipSteps.open();
  if (steps === undefined) return yield* rebuffered(gunzipStream(input), nextBuffer);
  let buffer: Uint8Array<ArrayBuffer> | undefined;
  let filled = 0;
  for await (const chunk of input) {
    for (let read = 0, isFull = true; isFull;) {
      buffer ??= await nextBuffer();
      ({ read, filled } = steps.step(chunk, buffer, { read, filled }));
      isFull = filled === buffer.length;
      if (!isFull) continue;
      yield buffer;
      buffer = undefined;
      filled = 0;
    }
  }
  // What zlib still holds back; then it says whether this may be the end.
  for (let isFull = true; isFull;) {
    buffer ??= await nextBuffer();
    ({ filled } = steps.end(buffer, filled));
    isFull = filled === buffer.length;
    if (filled > 0) yield buffer.subarray(0, filled);
    buffer = undefined;
    filled = 0;
  }
}

/** Copies chunks of any size into the caller's memory. */
export async function* rebuffered(
  chunks: AsyncIterable<Uint8Array>,
  nextBuffer: NextBuffer,
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  let buffer: Uint8Array<ArrayBuffer> | undefined;
  let filled = 0;
  for await (const chunk of chunks) {
    for (let at = 0; at < chunk.length;) {
      buffer ??= await nextBuffer();
      const part = chunk.subarray(at, at + buffer.length - filled);
      buffer.set(part, filled);
      at += part.length;
      filled += part.length;
      if (filled < buffer.length) continue;
      yield buffer;
      buffer = undefined;
      filled = 0;
    }
  }
  if (buffer !== undefined && filled > 0) yield buffer.subarray(0, filled);
}
