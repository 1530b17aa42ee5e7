import { writeFully } from "../../base/bytes.ts";
import { BangerError, reasonOf } from "../../base/errors.ts";
import type { Clock, Connection, Host } from "../../base/host.ts";
import { ByteReader } from "../wire/byte_reader.ts";

/** How a machine's guest ports are reached from the host. */
export type AgentEndpoint =
  /** A Unix socket that takes "CONNECT <port>\n": Firecracker's, vhost-device-vsock's, our relay's. */
  | { readonly kind: "hybrid"; readonly path: string }
  /** AF_VSOCK, where the host's kernel has the device. */
  | { readonly kind: "vsock"; readonly cid: number };

/** "OK 4294967295" and some room. */
const MAX_ANSWER_BYTES = 64;

/** An open stream to a guest port, with what was read of it. */
export interface GuestStream {
  readonly connection: Connection;
  readonly reader: ByteReader;
}

/**
 * Opens a stream to a guest port and sends `firstBytes` on it. On hybrid sockets they wait for the answer to
 * the CONNECT line: vhost-device-vsock 0.3.0 loses what comes together with it.
 *
 * @param signal ends the attempt
 * @throws {BangerError} `guest_unreachable`
 * Source: Firecracker docs/vsock.md, "Host-Initiated Connections"
 */
export async function openGuestStream(
  { sockets }: Pick<Host, "sockets">,
  endpoint: AgentEndpoint,
  port: number,
  firstBytes: Uint8Array,
  signal: AbortSignal,
): Promise<GuestStream> {
  try {
    const connection = endpoint.kind === "hybrid"
      ? await sockets.connectUnix(endpoint.path)
      : await sockets.connectVsock(endpoint.cid, port);
    const onAbort = () => connection.close();
    signal.addEventListener("abort", onAbort);
    try {
      signal.throwIfAborted();
      const reader = new ByteReader(connection);
      if (endpoint.kind === "hybrid") {
        const line = new TextEncoder().encode(`CONNECT ${port}\n`);
        await writeFully((bytes) => connection.write(bytes), line);
        await readAnswer(reader);
      }
      await writeFully((bytes) => connection.write(bytes), firstBytes);
      return { connection, reader };
    } catch (failure) {
      connection.close();
      throw failure;
    } finally {
      signal.removeEventListener("abort", onAbort);
    }
  } catch (cause) {
    throw unreachable(reasonOf(cause), cause);
  }
}

async function readAnswer(reader: ByteReader): Promise<void> {
  const line = await reader.readLine(MAX_ANSWER_BYTES);
  if (line === null) throw new BangerError("guest_unreachable", "nothing in the guest takes the connection");
  if (!/^OK \d{1,10}$/.test(line)) {
    throw new BangerError("guest_unreachable", "the answer to CONNECT is not OK");
  }
}

/** @param why completes "Cannot reach the guest's agent: …" */
export function unreachable(why: string, cause?: unknown): BangerError {
  return new BangerError(
    "guest_unreachable",
    `Cannot reach the guest's agent: ${why}`,
    "See what the guest prints: banger vm logs NAME",
    { cause },
  );
}

/**
 * @param act gets a signal that fires at the deadline; it must end soon after
 * @throws {BangerError} `guest_unreachable` where the time is over first
 */
export async function withDeadline<T>(
  clock: Clock,
  timeoutMs: number,
  act: (deadline: AbortSignal) => Promise<T>,
): Promise<T> {
  const done = new AbortController();
  const deadline = new AbortController();
  const timer = clock.sleep(timeoutMs, done.signal).then(
    () => deadline.abort(unreachable(`no answer within ${timeoutMs / 1000} s`)),
    () => {
      // The work was done first.
    },
  );
  try {
    return await act(deadline.signal);
  } catch (failure) {
    if (deadline.signal.aborted) throw deadline.signal.reason;
    throw failure;
  } finally {
    done.abort();
    await timer;
  }
}
