import { BangerError } from "../lib/base/errors.ts";
import type { Connection } from "../lib/base/host.ts";
import { SERIAL_PORT_NAME } from "../lib/guest/wire/protocol.ts";
import { type Descriptors, DescriptorStream } from "./descriptor.ts";
import { checked, cString, type Libc, O_CLOEXEC, O_NOCTTY, O_NONBLOCK, O_RDWR } from "./libc.ts";
import { readSmallFile } from "./small_files.ts";

const PORTS_DIRECTORY = "/sys/class/virtio-ports";
/** A port's name reaches the kernel in a message of its own, maybe after the agent's start. */
const FIND_TIMEOUT_MS = 10_000;
const FIND_AGAIN_MS = 50;
/** The kernel's buffers of a port: what fills one is no message of somebody who waits for an answer. */
const BULK_BYTES = 4096;
/**
 * More bulk data gathers in the kernel for so long, instead of waking two threads for every few KiB: under emulation
 * waking costs more than copying.
 */
const GATHER_MS = 1;
/**
 * For so long after bulk data was sent, what comes is looked for each `GATHER_MS`: the kernel wakes whoever waits at
 * the port for every buffer that was sent, and both then want the same lock.
 */
const SENDING_MS = 10;
/** While the host side is not connected, a read gives 0 at once. */
const HOST_AWAY_FIRST_MS = 5;
const HOST_AWAY_MOST_MS = 200;

/** @returns the device of the port that banger made; undefined where the machine has none */
export async function findSerialPort(libc: Libc): Promise<string | undefined> {
  for (const deadline = performance.now() + FIND_TIMEOUT_MS;;) {
    const device = lookForPort(libc);
    if (device || performance.now() > deadline) return device;
    await sleep(FIND_AGAIN_MS);
  }
}

/**
 * Ports are called vportNpM, where N is the device's place among all virtio devices; without udev there are
 * no links by name.
 */
function lookForPort(libc: Libc): string | undefined {
  for (const port of portNames()) {
    const name = readSmallFile(libc, `${PORTS_DIRECTORY}/${port}/name`);
    if (name?.trim() === SERIAL_PORT_NAME) return `/dev/${port}`;
  }
  return undefined;
}

function portNames(): string[] {
  try {
    return [...Deno.readDirSync(PORTS_DIRECTORY)].map(({ name }) => name);
  } catch (failure) {
    if (failure instanceof Deno.errors.NotFound) return []; // no such device, or its module comes later
    throw failure;
  }
}

/** @throws {LibcError} where it is in use: the kernel lets only one open a port */
export function openSerialPort(descriptors: Descriptors, device: string): Connection {
  const { libc } = descriptors;
  const flags = O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK;
  const fd = checked(libc, "open", libc.call.open(cString(device), flags, 0));
  return new SerialPort(new DescriptorStream(descriptors, fd));
}

/** A virtio-serial port: its end of file means only that the host is away for now. */
class SerialPort implements Connection {
  readonly #stream: DescriptorStream;
  #open = true;
  /** The last read took all there was, and that was as much as bulk data brings. */
  #isGathering = false;
  /** When bulk data was last sent. */
  #sentMs = -Infinity;

  constructor(stream: DescriptorStream) {
    this.#stream = stream;
  }

  async read(into: Uint8Array): Promise<number | null> {
    for (let attempt = 0; this.#open;) {
      if (this.#isGathering || this.#isSending()) await sleep(GATHER_MS);
      this.#isGathering = false;
      const count = this.#isSending()
        ? this.#stream.readAllNow(into, BULK_BYTES)
        : await this.#stream.readAll(into, BULK_BYTES);
      if (count === undefined) continue;
      if (count !== null) {
        this.#isGathering = count >= BULK_BYTES && count < into.length;
        return count;
      }
      await sleep(awayMs(attempt++));
    }
    return null;
  }

  async write(bytes: Uint8Array): Promise<number> {
    if (bytes.length >= BULK_BYTES) this.#sentMs = performance.now();
    for (let attempt = 0;; attempt++) {
      try {
        return await this.#stream.write(bytes);
      } catch (failure) {
        const isHostAway = failure instanceof BangerError && failure.code === "connection_failed";
        if (!isHostAway || !this.#open) throw failure;
        await sleep(awayMs(attempt));
      }
    }
  }

  #isSending(): boolean {
    return performance.now() - this.#sentMs < SENDING_MS;
  }

  /** A port has no half-close. */
  closeWrite(): Promise<void> {
    return Promise.resolve();
  }

  close(): void {
    this.#open = false;
    this.#stream.close();
  }
}

function awayMs(attempt: number): number {
  return Math.min(HOST_AWAY_FIRST_MS * 2 ** Math.min(attempt, 10), HOST_AWAY_MOST_MS);
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
