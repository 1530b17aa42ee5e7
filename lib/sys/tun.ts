/** TUN links that root made for a user: they are up exactly while a process of that user holds them. */
import type { HeldLink } from "../base/network.ts";
import { BangerError } from "../base/errors.ts";
import { checked, cString, errno, libc, O_CLOEXEC, O_RDWR } from "./libc.ts";
import { osError, SystemCallError } from "./os_errors.ts";

const TUN_DEVICE = "/dev/net/tun";
/** _IOW('T', 202, int), linux/if_tun.h */
const TUNSETIFF = 0x400454can;
/** What a link carries: IP packets, or Ethernet frames. */
const KINDS = { tun: 0x0001, tap: 0x0002 } as const;
const IFF_NO_PI = 0x1000;
const O_NONBLOCK = 0o4000;
/** sizeof(struct ifreq): a name of 16 bytes, then the flags. */
const IFREQ_BYTES = 40;
const IFNAMSIZ = 16;
const EPERM = 1;
const EBUSY = 16;
const EINVAL = 22;

/** @param name of a link that is there */
export function holdTunLink(name: string): HeldLink {
  const descriptor = openTunLink(name, "tun");
  let isHeld = true;
  return {
    [Symbol.dispose]() {
      if (isHeld) libc().close(descriptor);
      isHeld = false;
    },
  };
}

/** @returns a descriptor, which does not block */
export function openTunLink(name: string, kind: keyof typeof KINDS): number {
  const { open, ioctl, close } = libc();
  const request = new Uint8Array(IFREQ_BYTES);
  request.set(new TextEncoder().encode(name).subarray(0, IFNAMSIZ - 1));
  new DataView(request.buffer).setUint16(IFNAMSIZ, KINDS[kind] | IFF_NO_PI, true);
  try {
    const descriptor = checked("open", open(cString(TUN_DEVICE), O_RDWR | O_CLOEXEC | O_NONBLOCK, 0));
    const address = Deno.UnsafePointer.value(Deno.UnsafePointer.of(request));
    if (ioctl(descriptor, TUNSETIFF, BigInt(address)) < 0) {
      const failure = errno();
      close(descriptor);
      throw linkError(name, failure);
    }
    return descriptor;
  } catch (thrown) {
    throw osError(`hold the link ${name}`, thrown);
  }
}

function linkError(name: string, code: number): Error {
  const say = (kind: "permission_denied" | "in_use" | "wrong_state", why: string) =>
    new BangerError(kind, `Cannot hold the link ${name}: ${why}`);
  if (code === EPERM) return say("permission_denied", "it was made for another user");
  if (code === EBUSY) return say("in_use", "another process holds it");
  if (code === EINVAL) return say("wrong_state", "it is no link that a process can hold");
  return new SystemCallError("TUNSETIFF", code);
}
