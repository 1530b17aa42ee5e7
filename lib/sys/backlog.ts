/**
 * How many connections a listener keeps that nobody has accepted yet. Deno says 128 and has no option: where
 * more connect at once than that, the rest wait for TCP to try again, a second and more.
 */
import { libc } from "./libc.ts";

/** The kernel takes less where net.core.somaxconn is less. */
const BACKLOG = 1024;
/** Descriptors are given out from below, and ours was given out last. */
const MAX_DESCRIPTOR = 4096;
/** Source: linux/socket.h, asm-generic/socket.h */
const AF_INET = 2;
const SOL_SOCKET = 1;
const SO_ACCEPTCONN = 30;
const SOCKADDR_IN_BYTES = 16;

/**
 * Lets more connections wait. Deno does not tell descriptors, so the listener's is looked for by its address.
 * What cannot be had is left as it is: the listener works.
 *
 * @param address IPv4
 */
export function deepenBacklog(address: string, port: number): void {
  const octets = address.split(".").map(Number);
  const wanted = [port >>> 8, port & 0xff, ...octets];
  const name = new Uint8Array(SOCKADDR_IN_BYTES);
  const size = new Uint32Array(1);
  for (let descriptor = 0; descriptor < MAX_DESCRIPTOR; descriptor++) {
    size[0] = name.length;
    if (libc().getsockname(descriptor, name, size) !== 0) continue;
    const isAddress = name[0] === AF_INET && wanted.every((byte, index) => name[2 + index] === byte);
    if (!isAddress || !isListening(descriptor)) continue;
    // Once more on a socket that listens already changes its backlog (listen(2) of Linux).
    libc().listen(descriptor, BACKLOG);
    return;
  }
}

function isListening(descriptor: number): boolean {
  const value = new Uint32Array(1);
  const size = Uint32Array.of(value.byteLength);
  return libc().getsockopt(descriptor, SOL_SOCKET, SO_ACCEPTCONN, value, size) === 0 && value[0] === 1;
}
