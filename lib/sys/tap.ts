import { BangerError } from "../base/errors.ts";
import type { Connection } from "../base/host.ts";
import { checked, cString, errno, libc, O_CLOEXEC } from "./libc.ts";
import { osError, SystemCallError } from "./os_errors.ts";
import { ReadWaiter } from "./read_waiter.ts";
import { openTunLink } from "./tun.ts";

/** linux/if_tun.h */
const TUNSETOFFLOAD = 0x400454d0n;
/** The kernel leaves segments whole and their checksums undone: nobody on the way needs either. */
const OFFLOADS = { checksum: 0x01, tcp4: 0x02 } as const;
const AF_UNIX = 1;
const SOCK_DGRAM = 2;
const SOCK_NONBLOCK = 0o4000;
const SOL_SOCKET = 1;
const SCM_RIGHTS = 1;
const MSG_DONTWAIT = 0x40;
const MSG_CMSG_CLOEXEC = 0x40000000;
const SUN_PATH_BYTES = 108;
const LENGTH_BYTES = 4;
/** A card's MTU is under 65,536 bytes, and what it gives in one piece is no more, plus its header. */
const MAX_FRAME_BYTES = 68 * 1024;
/** Where sending fails for this frame alone: no room now, or too long for the card. */
const LOST: readonly string[] = ["EAGAIN", "ENOBUFS", "EMSGSIZE", "EINVAL"];

/**
 * As `Network.offerFrames`. A tap stays in the namespace that it was made in, wherever its descriptor goes: so a
 * process of the host's network reads and writes a card that it cannot see.
 *
 * Source: Linux Documentation/networking/tuntap.rst; unix(7), "SCM_RIGHTS"
 */
export function offerFrames(card: string, socketPath: string): void {
  try {
    const tap = openTap(card);
    const sender = checked("socket", libc().socket(AF_UNIX, SOCK_DGRAM | O_CLOEXEC, 0));
    sendDescriptor(sender, socketPath, tap);
  } catch (thrown) {
    throw osError(`hand over network card ${card}`, thrown);
  }
}

/** @returns the descriptor of a tap that exists */
function openTap(card: string): number {
  // Of a name that is not there, the kernel would make a new one.
  if (libc().if_nametoindex(cString(card)) === 0) {
    throw new BangerError("not_found", `Cannot use network card ${card}: there is none of that name here`);
  }
  const tap = openTunLink(card, "tap");
  const offloads = BigInt(OFFLOADS.checksum | OFFLOADS.tcp4);
  checked("TUNSETOFFLOAD", libc().ioctl(tap, TUNSETOFFLOAD, offloads));
  return tap;
}

/** As `Network.receiveFrames`. */
export async function receiveFrames(
  socketPath: string,
  onReady: () => void,
  signal: AbortSignal,
): Promise<Connection> {
  signal.throwIfAborted();
  const receiver = libc().socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | O_CLOEXEC, 0);
  if (receiver < 0) throw osError("make a socket", new SystemCallError("socket", errno()));
  const waiter = new ReadWaiter(receiver);
  const stop = () => waiter.close();
  signal.addEventListener("abort", stop, { once: true });
  try {
    const address = unixAddress(socketPath);
    checked("bind", libc().bind(receiver, address, address.length));
    onReady();
    while (await waiter.wait()) {
      const descriptor = receiveDescriptor(receiver);
      if (descriptor !== undefined) return new TapConnection(descriptor);
    }
    throw signal.reason;
  } catch (thrown) {
    if (signal.aborted) throw signal.reason;
    throw osError(`wait at ${socketPath}`, thrown);
  } finally {
    signal.removeEventListener("abort", stop);
    waiter.close();
    await Deno.remove(socketPath).catch((thrown) => {
      // It was never made, or went with its directory.
      if (!(thrown instanceof Deno.errors.NotFound)) throw osError(`remove ${socketPath}`, thrown);
    });
  }
}

/** The frames of one card. */
class TapConnection implements Connection {
  readonly #descriptor: number;
  readonly #waiter: ReadWaiter;
  #open = true;

  constructor(descriptor: number) {
    this.#descriptor = descriptor;
    this.#waiter = new ReadWaiter(descriptor);
  }

  /** @param into must have room for a frame */
  async read(into: Uint8Array): Promise<number | null> {
    while (this.#open) {
      let filled = 0;
      while (into.length - filled >= LENGTH_BYTES + MAX_FRAME_BYTES) {
        const room = into.subarray(filled + LENGTH_BYTES, filled + LENGTH_BYTES + MAX_FRAME_BYTES);
        const count = this.#readOne(room);
        if (count === undefined) break;
        new DataView(into.buffer, into.byteOffset + filled).setUint32(0, count);
        filled += LENGTH_BYTES + count;
      }
      if (filled > 0) return filled;
      if (!(await this.#waiter.wait())) return null;
    }
    return null;
  }

  write(bytes: Uint8Array): Promise<number> {
    return Promise.resolve().then(() => {
      for (let at = 0; at < bytes.length;) {
        const length = new DataView(bytes.buffer, bytes.byteOffset + at).getUint32(0);
        const end = at + LENGTH_BYTES + length;
        this.#writeOne(bytes.subarray(at + LENGTH_BYTES, end));
        at = end;
      }
      return bytes.length;
    });
  }

  /** A card has no end of its own. */
  closeWrite(): Promise<void> {
    return Promise.resolve();
  }

  close(): void {
    if (this.#open) this.#waiter.close();
    this.#open = false;
  }

  /** @returns undefined where there is none now */
  #readOne(into: Uint8Array): number | undefined {
    const count = libc().read(this.#descriptor, into as Uint8Array<ArrayBuffer>, BigInt(into.length));
    if (count >= 0) return Number(count);
    const failure = new SystemCallError("read", errno());
    if (failure.code === "EAGAIN" || failure.code === "EINTR") return undefined;
    throw osError("read a network card's frames", failure);
  }

  #writeOne(frame: Uint8Array): void {
    if (!this.#open) throw new BangerError("connection_failed", "Cannot send a frame: the card was closed");
    const count = libc().write(this.#descriptor, frame as Uint8Array<ArrayBuffer>, BigInt(frame.length));
    if (count >= 0) return;
    const failure = new SystemCallError("write", errno());
    if (!LOST.includes(failure.code)) throw osError("send a frame", failure);
  }
}

/** struct sockaddr_un */
function unixAddress(path: string): Uint8Array<ArrayBuffer> {
  const text = cString(path);
  if (text.length > SUN_PATH_BYTES) {
    throw new BangerError("host_unsupported", `Cannot use ${path} as a socket: its path is too long`);
  }
  const bytes = new Uint8Array(2 + text.length);
  new DataView(bytes.buffer).setUint16(0, AF_UNIX, true);
  bytes.set(text, 2);
  return bytes;
}

/** CMSG_LEN and CMSG_SPACE of one descriptor, on 64 bits. */
const CONTROL_BYTES = { length: 20, space: 24 } as const;

/** A struct msghdr of one byte and one descriptor. The parts must be held while it is used. */
function message(address: Uint8Array<ArrayBuffer> | undefined) {
  const payload = new Uint8Array(1);
  const vector = new BigUint64Array([addressOf(payload), 1n]);
  const control = new Uint8Array(CONTROL_BYTES.space);
  const header = new BigUint64Array([
    address ? addressOf(address) : 0n,
    BigInt(address?.length ?? 0),
    addressOf(vector),
    1n,
    addressOf(control),
    BigInt(CONTROL_BYTES.space),
    0n,
  ]);
  return { header: new Uint8Array(header.buffer), control, held: [payload, vector, address] };
}

function addressOf(buffer: Uint8Array<ArrayBuffer> | BigUint64Array<ArrayBuffer>): bigint {
  return Deno.UnsafePointer.value(Deno.UnsafePointer.of(buffer));
}

function sendDescriptor(socket: number, path: string, descriptor: number): void {
  const { header, control, held } = message(unixAddress(path));
  const view = new DataView(control.buffer);
  view.setBigUint64(0, BigInt(CONTROL_BYTES.length), true);
  view.setInt32(8, SOL_SOCKET, true);
  view.setInt32(12, SCM_RIGHTS, true);
  view.setInt32(16, descriptor, true);
  checked("sendmsg", libc().sendmsg(socket, header, 0));
  held.length = 0;
}

/** @returns undefined where none came */
function receiveDescriptor(socket: number): number | undefined {
  const { header, control, held } = message(undefined);
  const count = libc().recvmsg(socket, header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  held.length = 0;
  if (count < 0n) {
    const failure = new SystemCallError("recvmsg", errno());
    if (failure.code === "EAGAIN" || failure.code === "EINTR") return undefined;
    throw failure;
  }
  const view = new DataView(control.buffer);
  const isDescriptor = view.getBigUint64(0, true) === BigInt(CONTROL_BYTES.length) &&
    view.getInt32(8, true) === SOL_SOCKET && view.getInt32(12, true) === SCM_RIGHTS;
  return isDescriptor ? view.getInt32(16, true) : undefined;
}
