import { reasonOf } from "../lib/base/errors.ts";
import type { Connection, Log } from "../lib/base/host.ts";

/** VMADDR_CID_ANY (vsock(7)) */
const ANY_CID = 0xffff_ffff;
const ACCEPT_AGAIN_MS = 100;

/** @returns undefined where the guest's kernel has no vsock */
export function listenVsock(port: number, log: Log): Deno.Listener | undefined {
  try {
    return Deno.listen({ transport: "vsock", cid: ANY_CID, port });
  } catch (failure) {
    log("info", "no vsock", { reason: reasonOf(failure) });
    return undefined;
  }
}

/** Only root of the guest may connect. What an agent before has left at `path` is replaced. */
export async function listenUnix(path: string): Promise<Deno.Listener> {
  await Deno.remove(path).catch((failure) => {
    if (!(failure instanceof Deno.errors.NotFound)) throw failure;
  });
  const before = Deno.umask(0o177);
  try {
    return Deno.listen({ transport: "unix", path });
  } finally {
    Deno.umask(before);
  }
}

/** Gives every connection to `serve` until the listener is closed. */
export async function acceptAll(
  listener: Deno.Listener,
  serve: (connection: Connection) => Promise<void>,
  log: Log,
): Promise<void> {
  const running = new Set<Promise<void>>();
  for (;;) {
    let accepted: Deno.Conn;
    try {
      accepted = await listener.accept();
    } catch (failure) {
      if (failure instanceof Deno.errors.BadResource || failure instanceof Deno.errors.Interrupted) break;
      // Out of descriptors, or the client has gone already: the next one may do better.
      log("warn", "cannot accept a connection", { reason: reasonOf(failure) });
      await new Promise((resolve) => setTimeout(resolve, ACCEPT_AGAIN_MS));
      continue;
    }
    const serving: Promise<void> = serve(asConnection(accepted)).finally(() => running.delete(serving));
    running.add(serving);
  }
  await Promise.all(running);
}

/** Deno's own closes only once. */
function asConnection(connection: Deno.Conn): Connection {
  let open = true;
  return {
    read: (into) => connection.read(into),
    write: (bytes) => connection.write(bytes),
    closeWrite: () => connection.closeWrite(),
    close: () => {
      if (open) connection.close();
      open = false;
    },
  };
}
