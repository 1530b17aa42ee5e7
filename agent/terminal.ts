import type { TerminalSize } from "../lib/guest/wire/exec.ts";
import { type Descriptors, DescriptorStream } from "./descriptor.ts";
import {
  checked,
  type Libc,
  LibcError,
  O_CLOEXEC,
  O_NOCTTY,
  O_RDWR,
  TCGETS,
  TCSETS,
  TIOCSWINSZ,
} from "./libc.ts";

const NAME_BYTES = 64;
/** asm-generic/termbits.h: `c_iflag` comes first in `struct termios`, which is smaller than this. */
const TERMIOS_BYTES = 64;
const IUTF8 = 0o40000;

/** The agent's side of a pseudo-terminal. */
export interface PseudoTerminal {
  readonly stream: DescriptorStream;
  /** What the command opens. */
  readonly path: string;
}

/** @throws {LibcError} where the guest has no /dev/pts or no terminal left */
export function openTerminal(descriptors: Descriptors, size: TerminalSize): PseudoTerminal {
  const { libc } = descriptors;
  const fd = checked(libc, "posix_openpt", libc.call.posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
  try {
    checked(libc, "grantpt", libc.call.grantpt(fd));
    checked(libc, "unlockpt", libc.call.unlockpt(fd));
    const name = new Uint8Array(NAME_BYTES);
    const failure = libc.call.ptsname_r(fd, name, BigInt(name.length));
    if (failure !== 0) throw new LibcError("ptsname_r", failure);
    setUtf8(libc, fd);
    setTerminalSize(libc, fd, size);
    const path = new TextDecoder().decode(name.subarray(0, name.indexOf(0)));
    return { stream: new DescriptorStream(descriptors, fd), path };
  } catch (failure) {
    libc.call.close(fd);
    throw failure;
  }
}

/** The foreground processes get SIGWINCH. */
export function setTerminalSize(libc: Libc, fd: number, { rows, columns }: TerminalSize): void {
  const size = new Uint8Array(Uint16Array.of(rows, columns, 0, 0).buffer);
  checked(libc, "TIOCSWINSZ", libc.call.ioctl(fd, TIOCSWINSZ, size));
}

/** So that the line editing of the kernel erases whole characters. */
function setUtf8(libc: Libc, fd: number): void {
  const settings = new Uint8Array(TERMIOS_BYTES);
  checked(libc, "TCGETS", libc.call.ioctl(fd, TCGETS, settings));
  const view = new DataView(settings.buffer);
  view.setUint32(0, view.getUint32(0, true) | IUTF8, true);
  checked(libc, "TCSETS", libc.call.ioctl(fd, TCSETS, settings));
}
