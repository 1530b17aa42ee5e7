/** What reads and writes past the page cache need of memory, places and lengths: enough for every disk there is. */
export const ALIGNMENT_BYTES = 4096;

/** @returns memory that begins at a multiple of `ALIGNMENT_BYTES` */
export function alignedBuffer(sizeBytes: number): Uint8Array<ArrayBuffer> {
  const memory = new Uint8Array(sizeBytes + ALIGNMENT_BYTES);
  const address = BigInt(Deno.UnsafePointer.value(Deno.UnsafePointer.of(memory)));
  const skip = Number(BigInt.asUintN(12, -address));
  return memory.subarray(skip, skip + sizeBytes);
}
