import { gunzip, type NextBuffer, rebuffered } from "./gzip.ts";
import type { OpenScratch } from "./scratch.ts";
import { unzstd } from "./zstd/frames.ts";

export type Codec = "gzip" | "zstd";

/**
 * Decompresses one stream: `decodeHere`, or `decodeInThread` where there is much of it.
 *
 * @returns chunks that are valid until the next is asked for
 */
export type Decode = (codec: Codec, input: AsyncIterable<Uint8Array>) => AsyncIterable<Uint8Array>;

/** In this thread, all of it in memory. */
export const decodeHere: Decode = (codec, input) => codec === "gzip" ? gunzip(input) : unzstd(input);

/** In this thread; a large window of zstd's mostly in a scratch. */
export function decodeHereWith(openScratch: OpenScratch): Decode {
  return (codec, input) => codec === "gzip" ? gunzip(input) : unzstd(input, openScratch);
}

/** In this thread, into memory of the caller's: each chunk but the last fills what it was given. */
export function decodeInto(
  codec: Codec,
  input: AsyncIterable<Uint8Array>,
  nextBuffer: NextBuffer,
  openScratch: OpenScratch,
): AsyncIterable<Uint8Array<ArrayBuffer>> {
  // What comes out of zstd is a part of its window, which it goes on using.
  return codec === "gzip" ? gunzip(input, nextBuffer) : rebuffered(unzstd(input, openScratch), nextBuffer);
}
