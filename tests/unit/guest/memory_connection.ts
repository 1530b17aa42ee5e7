import type { Connection } from "../../../lib/base/host.ts";

/** Deterministic numbers in [0, 1): a failing run can be had again from its seed. (mulberry32) */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

export function randomBytes(random: () => number, length: number): Uint8Array<ArrayBuffer> {
  return Uint8Array.from({ length }, () => Math.floor(random() * 256));
}

export interface PipeOptions {
  /** Of the sender's bytes kept until they are read. */
  readonly capacityBytes?: number;
  /** How much one read or write moves at most. */
  readonly pieceBytes?: () => number;
}

/** One direction of a connection in memory. */
class MemoryPipe {
  readonly #capacity: number;
  readonly #piece: () => number;
  #bytes = new Uint8Array(0);
  #ended = false;
  #broken = false;
  #waiting: (() => void)[] = [];

  constructor({ capacityBytes = 64 * 1024, pieceBytes = () => Infinity }: PipeOptions) {
    this.#capacity = capacityBytes;
    this.#piece = pieceBytes;
  }

  async read(into: Uint8Array): Promise<number | null> {
    while (this.#bytes.length === 0) {
      if (this.#ended || this.#broken) return null;
      await this.#change();
    }
    const part = this.#bytes.subarray(0, Math.max(1, Math.min(into.length, this.#piece())));
    into.set(part);
    this.#bytes = this.#bytes.slice(part.length);
    this.#notify();
    return part.length;
  }

  async write(bytes: Uint8Array): Promise<number> {
    while (this.#bytes.length >= this.#capacity && !this.#broken) await this.#change();
    if (this.#broken || this.#ended) throw new Error("broken pipe");
    const room = Math.min(this.#capacity - this.#bytes.length, Math.max(1, this.#piece()));
    const part = bytes.subarray(0, room);
    const joined = new Uint8Array(this.#bytes.length + part.length);
    joined.set(this.#bytes);
    joined.set(part, this.#bytes.length);
    this.#bytes = joined;
    this.#notify();
    return part.length;
  }

  end(): void {
    this.#ended = true;
    this.#notify();
  }

  /** Bytes that were not read yet are lost. */
  break(): void {
    this.#broken = true;
    this.#bytes = new Uint8Array(0);
    this.#notify();
  }

  #change(): Promise<void> {
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  #notify(): void {
    const woken = this.#waiting;
    this.#waiting = [];
    for (const wake of woken) wake();
  }
}

class MemoryEnd implements Connection {
  readonly #input: MemoryPipe;
  readonly #output: MemoryPipe;

  constructor(input: MemoryPipe, output: MemoryPipe) {
    this.#input = input;
    this.#output = output;
  }

  read(into: Uint8Array): Promise<number | null> {
    return this.#input.read(into);
  }

  write(bytes: Uint8Array): Promise<number> {
    return this.#output.write(bytes);
  }

  closeWrite(): Promise<void> {
    this.#output.end();
    return Promise.resolve();
  }

  close(): void {
    this.#output.end();
    this.#input.break();
  }
}

/** Two ends of a byte stream in memory. */
export function connectionPair(options: PipeOptions = {}): [Connection, Connection] {
  const there = new MemoryPipe(options);
  const back = new MemoryPipe(options);
  return [new MemoryEnd(back, there), new MemoryEnd(there, back)];
}

/** A connection that reads `bytes` and then ends. */
export function connectionOf(bytes: Uint8Array, pieceBytes?: () => number): Pick<Connection, "read"> {
  const pipe = new MemoryPipe({ capacityBytes: Infinity, ...(pieceBytes ? { pieceBytes } : {}) });
  void (async () => {
    for (let at = 0; at < bytes.length;) at += await pipe.write(bytes.subarray(at));
    pipe.end();
  })();
  return { read: (into) => pipe.read(into) };
}

/** All that comes until the end. */
export async function readToEnd(connection: Pick<Connection, "read">): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  const buffer = new Uint8Array(64 * 1024);
  for (let count; (count = await connection.read(buffer)) !== null;) parts.push(buffer.slice(0, count));
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

export async function writeAll(connection: Pick<Connection, "write">, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await connection.write(bytes.subarray(at));
}
