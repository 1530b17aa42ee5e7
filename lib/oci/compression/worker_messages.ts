/**
 * What goes between `threaded.ts` and its worker. Buffers are handed over, not copied, and come back when they
 * were read: the same few go round, so that nothing waits for a garbage collection.
 */
import type { ErrorBody } from "../../base/errors.ts";
import { MIB } from "../../base/units.ts";
import type { Codec } from "./codecs.ts";

export type ToWorker =
  | { readonly kind: "begin"; readonly codec: Codec }
  | { readonly kind: "input"; readonly bytes: Uint8Array<ArrayBuffer> }
  | { readonly kind: "input-end" }
  /** A buffer for output. */
  | { readonly kind: "empty"; readonly buffer: ArrayBuffer };

export type FromWorker =
  /** A buffer of input that was read. */
  | { readonly kind: "empty"; readonly buffer: ArrayBuffer }
  | { readonly kind: "output"; readonly bytes: Uint8Array<ArrayBuffer> }
  | { readonly kind: "output-end" }
  /** `error` where it was one of banger's own. */
  | { readonly kind: "failure"; readonly message: string; readonly error?: ErrorBody };

/** In each direction: enough to bridge a pause, little in memory. */
export const BUFFERS = 6;
/** A message costs as much whatever its size. */
export const BUFFER_BYTES = MIB;
