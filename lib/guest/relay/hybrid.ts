import { writeFully } from "../../base/bytes.ts";
import { BangerError } from "../../base/errors.ts";
import type { Clock, Connection } from "../../base/host.ts";
import { ByteReader } from "../wire/byte_reader.ts";
import type { MuxHost } from "../wire/mux_host.ts";
import type { MuxStream } from "../wire/mux_stream.ts";

const MAX_LINE_BYTES = 32;
const LINE_TIMEOUT_MS = 10_000;
/** Kept of what a client sends while the guest's agent does not answer yet. */
const MAX_HELD_BYTES = 256 * 1024;
const READ_BYTES = 64 * 1024;
const FIRST_BYTES_MS = 5;

/** @returns the mux once streams can be opened on it; a machine that boots makes it wait */
export type UntilMux = (signal: AbortSignal) => Promise<MuxHost>;

/**
 * Serves one client of the hybrid socket: "CONNECT <port>\n", "OK <port>\n" once streams can be opened, then
 * bytes both ways, half-closes kept. Where the guest does not take the stream, the connection is closed.
 *
 * Unlike Firecracker's, the OK does not wait for the guest, and the stream is opened together with the
 * client's first bytes: that saves a round trip to the guest and the guest a read, of the four that a short
 * request takes.
 *
 * @throws {BangerError} whatever ended it but a proper end; the connection is closed in every case
 */
export async function serveHybrid(clock: Clock, client: Connection, untilMux: UntilMux): Promise<void> {
  let stream: MuxStream | undefined;
  const gone = new AbortController();
  try {
    const reader = new ByteReader(client);
    const port = await readPort(clock, client, reader);
    const input = new ClientInput(reader);
    const inward = input.run();
    // A client that goes before there is a stream ends the waiting for it.
    inward.catch((failure) => {
      gone.abort(failure);
      stream?.close();
    });
    await untilMux(gone.signal);
    await writeFully((bytes) => client.write(bytes), new TextEncoder().encode(`OK ${port}\n`));
    await input.untilFirstBytes(clock);
    stream = (await untilMux(gone.signal)).open(port);
    input.start(stream);
    await copyOut(stream, client);
    await inward;
  } finally {
    stream?.close();
    client.close();
  }
}

async function readPort(clock: Clock, client: Connection, reader: ByteReader): Promise<number> {
  const done = new AbortController();
  const timer = clock.sleep(LINE_TIMEOUT_MS, done.signal).then(() => client.close(), () => {
    // The line came first.
  });
  try {
    const line = await reader.readLine(MAX_LINE_BYTES);
    const match = /^CONNECT (\d{1,5})$/.exec(line ?? "");
    const port = Number(match?.[1] ?? 0);
    if (port >= 1 && port <= 65535) return port;
    throw new BangerError("corrupt_data", "Cannot serve a client: it does not send CONNECT and a port");
  } finally {
    done.abort();
    await timer;
  }
}

/** What a client sends. It is read before there is a stream, so that a client that goes is noticed. */
class ClientInput {
  readonly #reader: ByteReader;
  readonly #held: Uint8Array[] = [];
  #heldBytes = 0;
  #stream: MuxStream | undefined;
  readonly #started = Promise.withResolvers<void>();
  readonly #first = new AbortController();

  constructor(reader: ByteReader) {
    this.#reader = reader;
  }

  /** Resolves when something is there, or after a moment: in some protocols the server speaks first. */
  async untilFirstBytes(clock: Clock): Promise<void> {
    await clock.sleep(FIRST_BYTES_MS, this.#first.signal).catch(() => {
      // They came first.
    });
  }

  /** Passes on what was held so far, in this turn, so that it goes out together with the stream's opening. */
  start(stream: MuxStream): void {
    this.#stream = stream;
    this.#started.resolve(this.#passOnHeld(stream));
    // Seen where `run` awaits it.
    this.#started.promise.catch(() => {});
  }

  /**
   * Reads until the client's end, then ends the stream's direction.
   *
   * @throws {BangerError} `connection_failed` where the client ends before there is a stream
   */
  async run(): Promise<void> {
    for (let bytes; (bytes = await this.#reader.readSome(READ_BYTES)) !== null;) {
      const stream = this.#stream;
      if (stream) {
        await this.#started.promise;
        await writeFully((part) => stream.write(part), bytes);
      } else {
        this.#held.push(bytes.slice());
        this.#heldBytes += bytes.length;
        this.#first.abort();
        if (this.#heldBytes >= MAX_HELD_BYTES) await this.#started.promise;
      }
    }
    if (!this.#stream) throw new BangerError("connection_failed", "Cannot serve a client: it has gone");
    await this.#started.promise;
    await this.#stream.closeWrite();
  }

  async #passOnHeld(stream: MuxStream): Promise<void> {
    for (const bytes of this.#held.splice(0)) await writeFully((part) => stream.write(part), bytes);
  }
}

async function copyOut(stream: MuxStream, client: Connection): Promise<void> {
  const buffer = new Uint8Array(READ_BYTES);
  for (let count; (count = await stream.read(buffer)) !== null;) {
    await writeFully((bytes) => client.write(bytes), buffer.subarray(0, count));
  }
  await client.closeWrite();
}
