import { BangerError } from "../../base/errors.ts";
import type { Files } from "../../base/host.ts";
import { parseTrailer, slotOffset, TRAILER_BYTES, WINDOW_BYTES } from "../wire/window.ts";

/** The host's end of a machine's window; see `wire/window.ts`. */
export interface HostWindow {
  /**
   * @param name that the guest reads from
   * @returns undefined where somebody else uses it, or this file's window is not that one
   */
  take(name: string): Promise<WindowSlots | undefined>;
}

/** A window that is ours until this is disposed of. */
export interface WindowSlots extends AsyncDisposable {
  /**
   * @param index of all slots since the beginning
   * @returns false where the host's disk does not take it: it is full
   */
  write(index: number, atBytes: number, bytes: Uint8Array): Promise<boolean>;
}

/**
 * Where to write is known from the file alone, which only banger writes: the guest's word decides no more than
 * whether its window is used. Its lock goes with the process that has it.
 */
export function hostWindow(
  files: Pick<Files, "stat" | "tryLock" | "open">,
  configDisk: string,
): HostWindow {
  return {
    async take(name) {
      await using taken = new AsyncDisposableStack();
      try {
        // A lock would make the file.
        if ((await files.stat(configDisk))?.kind !== "file") return undefined;
        const lock = await files.tryLock(configDisk);
        if (!lock) return undefined;
        taken.use(lock);
        const file = taken.use(await files.open(configDisk, { read: true, write: true }));
        const diskBytes = await file.sizeBytes();
        if (diskBytes < WINDOW_BYTES + TRAILER_BYTES) return undefined;
        const trailer = new Uint8Array(TRAILER_BYTES);
        await file.readAt(trailer, diskBytes - TRAILER_BYTES);
        if (parseTrailer(trailer) !== name) return undefined;
        const owned = taken.move();
        return {
          async write(index, atBytes, bytes) {
            try {
              await file.writeAt(bytes, slotOffset(diskBytes, index) + atBytes);
              return true;
            } catch (thrown) {
              if (thrown instanceof BangerError) return false;
              throw thrown;
            }
          },
          [Symbol.asyncDispose]: () => owned.disposeAsync(),
        };
      } catch (thrown) {
        // A file that is not ours to write to: the bytes take the other way.
        if (thrown instanceof BangerError) return undefined;
        throw thrown;
      }
    },
  };
}
