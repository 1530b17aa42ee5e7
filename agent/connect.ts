import { writeFully } from "../lib/base/bytes.ts";
import { BangerError, reasonOf } from "../lib/base/errors.ts";
import type { Log } from "../lib/base/host.ts";
import { ChunkBuffer } from "../lib/guest/wire/http.ts";
import type { Exchange } from "./exchange.ts";

const READ_BYTES = 64 * 1024;

/** `POST /v1/connect?port=N[&address=A]`: bytes to and from the guest's own loopback, half-closes kept. */
export async function serveConnect(exchange: Exchange, query: URLSearchParams, log: Log): Promise<void> {
  using target = await dial(parseAddress(query.get("address")), parsePort(query.get("port")));
  const inward = copyIn(exchange, target).catch((failure) => {
    log("debug", "connect's input ended", { reason: reasonOf(failure) });
    closeQuietly(target);
  });
  try {
    // The head goes at once: many protocols wait for the other side to speak.
    await exchange.begin();
    const buffer = new ChunkBuffer(READ_BYTES);
    for (let count; (count = await target.read(buffer.space)) !== null;) {
      if (count > 0) await exchange.sendChunk(buffer.chunk(count));
    }
    await exchange.end();
    await inward;
  } finally {
    exchange.close();
    await inward;
  }
}

async function copyIn(exchange: Exchange, target: Deno.Conn): Promise<void> {
  for (let bytes; (bytes = await exchange.body.read()) !== null;) {
    await writeFully((part) => target.write(part), bytes);
  }
  await target.closeWrite();
}

async function dial(hostname: string, port: number): Promise<Deno.TcpConn> {
  try {
    const connection = await Deno.connect({ hostname, port });
    connection.setNoDelay(true);
    return connection;
  } catch (cause) {
    const text = `Cannot connect to port ${port} in the guest: ${reasonOf(cause)}`;
    throw new BangerError("connection_failed", text, "Check that something listens there", { cause });
  }
}

function parsePort(text: string | null): number {
  const port = text !== null && /^\d{1,5}$/.test(text) ? Number(text) : 0;
  if (port >= 1 && port <= 65535) return port;
  throw new BangerError("invalid_argument", "Cannot connect in the guest: the request names no port");
}

/** Only literal ones: a name would make the guest ask its resolver. */
function parseAddress(text: string | null): string {
  if (text === null) return "127.0.0.1";
  if (/^(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9a-f:]{2,39})$/.test(text)) return text;
  throw new BangerError("invalid_argument", "Cannot connect in the guest: the request's address is none");
}

function closeQuietly(connection: Deno.Conn): void {
  try {
    connection.close();
  } catch (failure) {
    // Closed by the other direction already.
    if (!(failure instanceof Deno.errors.BadResource)) throw failure;
  }
}
