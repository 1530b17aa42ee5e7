/**
 * The window: a part of the config disk's file that the host writes to while the machine runs, and that the agent
 * reads. Bulk data goes in that way, since a disk costs an emulated guest a tenth of what a stream does.
 *
 * ```text
 *   the config tar, whole pages │ the window: SLOTS slots, a hole at first │ the trailer, one page
 * ```
 *
 * The disk stays read-only for the guest. The trailer names the very file: the guest tells the name that it reads,
 * and the host writes to the file only where it has the same one. What lies behind the tar is small, since busybox
 * reads all of it at boot.
 */

/** What is under way at once: few and large, since each costs the guest some waking up. */
export const SLOTS = 2;
export const SLOT_BYTES = 2 * 1024 * 1024;
export const WINDOW_BYTES = SLOTS * SLOT_BYTES;
export const TRAILER_BYTES = 4096;
/** Of the answer's head: the name of the window that the guest reads from. */
export const WINDOW_FIELD = "banger-window";
/** In place of a slot's length: what follows in the body are the file's bytes themselves. */
export const BYTES_FOLLOW = 0;
/** One for each slot that was read. JSON may have any number of them in front. */
export const ACKNOWLEDGEMENT = 0x0a;

/** Another layout begins otherwise: nobody takes its slots for those of this one. */
const PREFIX = `banger-window ${SLOTS} ${SLOT_BYTES} `;
const NAME = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** @param name a UUID */
export function encodeTrailer(name: string): Uint8Array<ArrayBuffer> {
  const trailer = new Uint8Array(TRAILER_BYTES);
  trailer.set(new TextEncoder().encode(`${PREFIX}${name}\n`));
  return trailer;
}

/** @returns the window's name; undefined where this disk has none, or one of another layout */
export function parseTrailer(trailer: Uint8Array): string | undefined {
  const end = trailer.indexOf(0x0a);
  const line = end < 0 || end > 100 ? "" : new TextDecoder().decode(trailer.subarray(0, end));
  const name = line.slice(PREFIX.length);
  return line.startsWith(PREFIX) && NAME.test(name) ? name : undefined;
}

/**
 * @param diskBytes of the config disk, trailer included
 * @param index of all slots since the beginning
 * @returns where in the disk it lies
 */
export function slotOffset(diskBytes: number, index: number): number {
  return diskBytes - TRAILER_BYTES - WINDOW_BYTES + index % SLOTS * SLOT_BYTES;
}

export function encodeSlotLength(lengthBytes: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, lengthBytes);
  return bytes;
}
