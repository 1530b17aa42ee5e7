import { BangerError } from "../lib/base/errors.ts";
import type { Connection, Log } from "../lib/base/host.ts";
import type { Descriptors } from "./descriptor.ts";
import type { Exchange } from "./exchange.ts";
import { readSmallFile } from "./small_files.ts";
import type { serveSshClient } from "./ssh/server.ts";

/** What banger's initramfs has unpacked for this boot. */
const HOST_KEY_PATH = "/run/banger/ssh_host_ed25519_key";
const AUTHORIZED_KEYS_PATH = "/run/banger/authorized_keys";

/** Loads `ssh/server.ts`, when it is first needed. */
export type LoadSshServer = () => Promise<{ serveSshClient: typeof serveSshClient }>;

/** `POST /v1/ssh`: an ssh client's connection to the agent's own server, for guests that have none. */
export async function serveSsh(
  descriptors: Descriptors,
  exchange: Exchange,
  load: LoadSshServer,
  log: Log,
): Promise<void> {
  const hostKey = readSmallFile(descriptors.libc, HOST_KEY_PATH);
  const authorizedKeys = readSmallFile(descriptors.libc, AUTHORIZED_KEYS_PATH);
  if (hostKey === undefined || authorizedKeys === undefined) {
    throw new BangerError("guest_failed", "Cannot serve ssh: this machine was started without ssh keys");
  }
  const { serveSshClient } = await load();
  // The server speaks first.
  await exchange.begin();
  await serveSshClient(bodyConnection(exchange), { descriptors, hostKey, authorizedKeys, log });
}

/** The bodies of request and answer as one connection. */
function bodyConnection(exchange: Exchange): Connection {
  let rest = new Uint8Array(0);
  let isOpen = true;
  return {
    async read(into) {
      if (rest.length === 0) {
        const next = isOpen ? await exchange.body.read() : null;
        if (next === null) return null;
        rest = next as Uint8Array<ArrayBuffer>;
      }
      const part = rest.subarray(0, into.length);
      into.set(part);
      rest = rest.subarray(part.length);
      return part.length;
    },
    async write(bytes) {
      await exchange.send(bytes);
      return bytes.length;
    },
    closeWrite: () => exchange.end(),
    close: () => {
      isOpen = false;
      exchange.close();
    },
  };
}
