/** The guest's end of the window; see `lib/guest/wire/window.ts`. */
import { BangerError } from "../lib/base/errors.ts";
import {
  parseTrailer,
  SLOT_BYTES,
  slotOffset,
  TRAILER_BYTES,
  WINDOW_BYTES,
} from "../lib/guest/wire/window.ts";
import { alignedBuffer, ALIGNMENT_BYTES } from "./aligned.ts";
import { checked, cString, EIO, type Libc, LibcError, O_CLOEXEC, O_DIRECT, SEEK_END } from "./libc.ts";

/** docs/architecture.md, "Disks" */
const CONFIG_DISK = "/dev/vdc";

export interface Window extends Disposable {
  readonly name: string;
  /**
   * @param index of all slots since the beginning
   * @param into of `alignedBuffer`, with room up to the next whole `ALIGNMENT_BYTES`
   * @throws {LibcError}; `BangerError` for a length that no slot has
   */
  read(index: number, lengthBytes: number, into: Uint8Array<ArrayBuffer>): Promise<void>;
}

/** @returns undefined where the machine was given none, or it cannot be read past the page cache: that has old bytes */
export function openWindow(libc: Libc, disk: string = CONFIG_DISK): Window | undefined {
  const fd = libc.call.open(cString(disk), O_DIRECT | O_CLOEXEC, 0);
  if (fd < 0) return undefined;
  const diskBytes = Number(libc.call.lseek(fd, 0n, SEEK_END));
  const name = nameOf(libc, fd, diskBytes);
  if (name === undefined) {
    libc.call.close(fd);
    return undefined;
  }
  return {
    name,
    async read(index, lengthBytes, into) {
      if (lengthBytes > SLOT_BYTES) {
        throw new BangerError("corrupt_data", `Cannot read a slot of ${lengthBytes} bytes`);
      }
      const whole = into.subarray(0, Math.ceil(lengthBytes / ALIGNMENT_BYTES) * ALIGNMENT_BYTES);
      const [size, at] = [BigInt(whole.length), BigInt(slotOffset(diskBytes, index))];
      const count = await libc.call.pread_aside(fd, whole, size, at);
      if (count === whole.length) return;
      // The other thread's error number cannot be had: so it is tried once more on this one.
      const again = checked(libc, "pread", libc.call.pread(fd, whole, size, at));
      if (again < whole.length) throw new LibcError("pread", EIO);
    },
    [Symbol.dispose]: () => void libc.call.close(fd),
  };
}

function nameOf(libc: Libc, fd: number, diskBytes: number): string | undefined {
  if (diskBytes < WINDOW_BYTES + TRAILER_BYTES) return undefined;
  const trailer = alignedBuffer(TRAILER_BYTES);
  const count = libc.call.pread(fd, trailer, BigInt(TRAILER_BYTES), BigInt(diskBytes - TRAILER_BYTES));
  return count === TRAILER_BYTES ? parseTrailer(trailer) : undefined;
}
