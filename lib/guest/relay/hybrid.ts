import { writeFully } from "../../base/bytes.ts";
import { BangerError } from "../../base/errors.ts";
import type { Clock, Connection } from "../../base/host.ts";
import { ByteReader } from "../wire/byte_reader.ts";
import type { MuxHost } from "../wire/mux_host.ts";
import type { MuxStream } from "../wire/mux_stream.ts";

const MAX_LINE_BYTES = 32;
const LINE_TIMEOUT_MS = 10_000;
/** Kept of what a client sends, while the guest's agent does not answer yet and later. */
const MAX_HELD_BYTES = 256 * 1024;
const READ_BYTES = 64 * 1024;

/** @returns the mux once streams can be opened on it; a machine that boots makes it wait */
export type UntilMux = (signal: AbortSignal) => Promise<MuxHost>;

/**
 * Serves one client of the hybrid socket: "CONNECT <port>\n", "OK <n>\n" once the guest has taken the
 * stream, then bytes both ways, half-closes kept. Where the guest does not take it, the connection is
 * closed, as Firecracker does.
 *
 * @throws {BangerError} whatever ended it but a proper end; the connection is closed in every case
 */
export async function serveHybrid(clock: Clock, client: Connection, untilMux: UntilMux): Promise<void> {
  let stream: MuxStream | undefined;
  const gone = new AbortController();
  try {
    const reader = new ByteReader(client);
    const port = await readPort(clock, client, reader);
    const opened = Promise.withResolvers<MuxStream>();
    const inward = copyIn(reader, opened.promise, () => stream !== undefined);
    // A client that goes before there is a stream ends the waiting for it.
    inward.catch((failure) => {
      gone.abort(failure);
      stream?.close();
    });
    const mux = await untilMux(gone.signal);
    stream = mux.open(port);
    opened.resolve(stream);
    await stream.accepted;
    await writeFully((bytes) => client.write(bytes), new TextEncoder().encode(`OK ${stream.id}\n`));
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

/**
 * Reads ahead of the stream by `MAX_HELD_BYTES`, so that a client that goes is noticed while there is none.
 *
 * @throws {BangerError} `connection_failed` where the client ends before there is a stream
 */
async function copyIn(reader: ByteReader, opened: Promise<MuxStream>, isOpen: () => boolean): Promise<void> {
  let heldBytes = 0;
  let written = opened.then(() => {});
  for (let bytes; (bytes = await reader.readSome(READ_BYTES)) !== null;) {
    const copy = bytes.slice();
    heldBytes += copy.length;
    written = written.then(async () => {
      const stream = await opened;
      await writeFully((part) => stream.write(part), copy);
      heldBytes -= copy.length;
    });
    // Seen where it is awaited; the reading direction meets the same failure and ends all.
    written.catch(() => {});
    if (heldBytes >= MAX_HELD_BYTES) await written;
  }
  if (!isOpen()) throw new BangerError("connection_failed", "Cannot serve a client: it has gone");
  await written;
  await (await opened).closeWrite();
}

async function copyOut(stream: MuxStream, client: Connection): Promise<void> {
  const buffer = new Uint8Array(READ_BYTES);
  for (let count; (count = await stream.read(buffer)) !== null;) {
    await writeFully((bytes) => client.write(bytes), buffer.subarray(0, count));
  }
  await client.closeWrite();
}
