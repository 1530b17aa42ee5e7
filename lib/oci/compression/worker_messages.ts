/**
 * What goes between `worker_gunzip.ts` and the worker. Buffers are handed over, not copied, and come back when
 * they were read: the same few go round, so that nothing waits for a garbage collection.
 */
export type ToWorker =
  | { readonly kind: "input"; readonly bytes: Uint8Array<ArrayBuffer> }
  | { readonly kind: "input-end" }
  /** A buffer for output. */
  | { readonly kind: "empty"; readonly buffer: ArrayBuffer };

export type FromWorker =
  /** A buffer of input that was read. */
  | { readonly kind: "empty"; readonly buffer: ArrayBuffer }
  | { readonly kind: "output"; readonly bytes: Uint8Array<ArrayBuffer> }
  | { readonly kind: "output-end" }
  | { readonly kind: "failure"; readonly message: string };

/** In each direction: enough to bridge a pause, little in memory. */
export const BUFFERS = 4;
/** What zlib gives at once. */
export const BUFFER_BYTES = 256 * 1024;
