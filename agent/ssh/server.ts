/**
 * The agent's own ssh server, for images that have none: what real `ssh`, `scp`, `sftp`, `rsync` and editors
 * need, on a stream of banger's. It lets in only who holds banger's key, and shows the machine's host key.
 *
 * A bundle of its own: most guests never load it, and `node:crypto` would cost each of them its start.
 */
import { reasonOf } from "../../lib/base/errors.ts";
import type { Connection, Log } from "../../lib/base/host.ts";
import type { Descriptors } from "../descriptor.ts";
import { authenticate } from "./authentication.ts";
import { SshConnection } from "./connection.ts";
import { parseAuthorizedKeys, parseHostKey } from "./keys.ts";
import { DISCONNECT } from "./messages.ts";
import { Transport } from "./transport.ts";

const LOGIN_TIMEOUT_MS = 60_000;

export interface SshServerOptions {
  readonly descriptors: Descriptors;
  readonly log: Log;
  /** Content of an OpenSSH private key. */
  readonly hostKey: string;
  /** Lines of authorized_keys(5). */
  readonly authorizedKeys: string;
}

/** Serves one client until it goes. Closes the connection. Never throws. */
export async function serveSshClient(connection: Connection, options: SshServerOptions): Promise<void> {
  const { log } = options;
  let transport: Transport | undefined;
  const timer = setTimeout(() => connection.close(), LOGIN_TIMEOUT_MS);
  try {
    transport = new Transport(connection, parseHostKey(options.hostKey));
    const authorized = parseAuthorizedKeys(options.authorizedKeys);
    const user = await transport.open() ? await authenticate(transport, authorized) : undefined;
    clearTimeout(timer);
    if (user === undefined) return;
    await new SshConnection(transport, { descriptors: options.descriptors, user, log }).run();
  } catch (failure) {
    log("info", "an ssh connection failed", { reason: reasonOf(failure) });
    await transport?.disconnect(DISCONNECT.protocolError, reasonOf(failure));
  } finally {
    clearTimeout(timer);
    connection.close();
  }
}
