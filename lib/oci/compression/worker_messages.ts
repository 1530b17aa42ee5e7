/**
 * What goes between `threaded.ts` and its worker. Buffers are handed over, not copied, and come back when they
 * were read: the same few go round, so that nothing waits for a garbage collection.
 */
import type { ErrorBody } from "../../base/errors.ts";
import { MIB } from "../../base/units.ts";
import type { Codec } from "./codecs.ts";
import type { Piece } from "./scratch.ts";

export type ToWorker =
  | { readonly kind: "begin"; readonly codec: Codec }
  | { readonly kind: "input"; readonly bytes: Uint8Array<ArrayBuffer> }
  | { readonly kind: "input-end" }
  /** A buffer for output. */
  | { readonly kind: "empty"; readonly buffer: ArrayBuffer }
  /** The answer to each of the scratch's messages: its buffer, with what was read. */
  | { readonly kind: "scratch"; readonly buffer: ArrayBuffer };

export type FromWorker =
  /** A buffer of input that was read. */
  | { readonly kind: "empty"; readonly buffer: ArrayBuffer }
  | { readonly kind: "output"; readonly bytes: Uint8Array<ArrayBuffer> }
  | { readonly kind: "output-end" }
  /** The scratch lies in the other thread, which has the files: one buffer for it goes to and fro. */
  | { readonly kind: "scratch-write"; readonly bytes: Uint8Array<ArrayBuffer>; readonly at: number }
  | {
    readonly kind: "scratch-read";
    readonly pieces: readonly Piece[];
    readonly bytes: Uint8Array<ArrayBuffer>;
  }
  /** `error` where it was one of banger's own. */
  | { readonly kind: "failure"; readonly message: string; readonly error?: ErrorBody };

/** In each direction: enough to bridge a pause, little in memory. */
export const BUFFERS = 6;
/** A message costs as much whatever its size. */
export const BUFFER_BYTES = MIB;
