import type { OpenOptions, RandomAccessFile } from "../base/host.ts";
import { BangerError } from "../base/errors.ts";
import { checked, cString, libc, O_CLOEXEC, O_RDONLY, O_RDWR, O_WRONLY } from "./libc.ts";

/**
 * Files of /proc, /sys and /dev. Deno opens them only with all permissions at once; the C library needs
 * nothing but FFI, and keeps each executable's list of permissions short and true.
 */
export function isKernelPath(path: string): boolean {
  return /^\/(proc|sys|dev)\//.test(path);
}

const READ_BYTES = 64 * 1024;

/**
 * Such files have no size: this reads to the end.
 *
 * @throws {SystemCallError}
 */
export function readKernelFile(path: string, maxBytes: number): Uint8Array<ArrayBuffer> {
  return withDescriptor(path, O_RDONLY, (descriptor) => {
    const chunks: Uint8Array[] = [];
    let length = 0;
    for (;;) {
      const buffer = new Uint8Array(READ_BYTES);
      const count = checked("read", libc().read(descriptor, buffer, BigInt(buffer.length)));
      if (count === 0) break;
      chunks.push(buffer.subarray(0, count));
      length += count;
      if (length > maxBytes) {
        throw new BangerError("corrupt_data", `Cannot read ${path}: it is larger than ${maxBytes} bytes`);
      }
    }
    const whole = new Uint8Array(length);
    chunks.reduce((at, chunk) => (whole.set(chunk, at), at + chunk.length), 0);
    return whole;
  });
}

export function readKernelText(path: string, maxBytes = READ_BYTES): string {
  return new TextDecoder().decode(readKernelFile(path, maxBytes));
}

/** For what is only opened to see whether it can be: a device. @throws {SystemCallError} */
export function openKernelFile(path: string, { read, write }: OpenOptions): RandomAccessFile {
  const flags = read && write ? O_RDWR : write ? O_WRONLY : O_RDONLY;
  withDescriptor(path, flags, () => {});
  const refuse = () => Promise.reject(new BangerError("internal", `Cannot use ${path} as a plain file`));
  return {
    readAt: refuse,
    writeAt: refuse,
    truncate: refuse,
    sizeBytes: refuse,
    sync: refuse,
    close() {},
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}

function withDescriptor<T>(path: string, flags: number, act: (descriptor: number) => T): T {
  const { open, close } = libc();
  const descriptor = checked("open", open(cString(path), flags | O_CLOEXEC, 0));
  try {
    return act(descriptor);
  } finally {
    close(descriptor);
  }
}
