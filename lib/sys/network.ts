import { createSocket } from "node:dgram";
import { lookup } from "node:dns/promises";
import { BangerError } from "../base/errors.ts";
import type { Connection } from "../base/host.ts";
import type { Network, TcpListener, UdpSocket } from "../base/network.ts";
import { osError, systemCode } from "./os_errors.ts";
import { DenoConnection } from "./sockets.ts";

/** Out of descriptors: the next try may do better. */
const ACCEPT_AGAIN_MS = 100;

export const systemNetwork: Network = {
  async connectTcp(address, port) {
    try {
      const connection = await Deno.connect({ hostname: address, port });
      connection.setNoDelay(true);
      return new DenoConnection(connection);
    } catch (thrown) {
      throw osError(`connect to ${address}:${port}`, thrown);
    }
  },

  listenTcp(address, port) {
    return Promise.resolve().then(() => {
      try {
        return new DenoTcpListener(Deno.listen({ hostname: address, port }));
      } catch (thrown) {
        throw listenError(address, port, thrown);
      }
    });
  },

  bindUdp(address, port, onMessage) {
    return new Promise<UdpSocket>((resolve, reject) => {
      const socket = createSocket("udp4");
      let open = true;
      socket.once("error", (thrown) => reject(listenError(address, port, thrown)));
      socket.bind(port, address, () => {
        socket.removeAllListeners("error");
        // A datagram that was refused where it went (ICMP): as lost as any other.
        socket.on("error", () => {});
        socket.on("message", (bytes, from) => {
          if (open) onMessage(new Uint8Array(bytes), { address: from.address, port: from.port });
        });
        resolve({
          port: socket.address().port,
          send: (bytes, to) => {
            if (open) socket.send(bytes, to.port, to.address, () => {});
          },
          close: () => {
            if (open) socket.close();
            open = false;
          },
        });
      });
    });
  },

  ownAddresses: () => Deno.networkInterfaces().map(({ address }) => address.replace(/%.*$/, "")),

  async resolveName(name) {
    try {
      return (await lookup(name, { family: 4, all: true })).map(({ address }) => address);
    } catch (thrown) {
      const code = systemCode(thrown);
      if (code === "ENOTFOUND" || code === "EAI_AGAIN" || code === "ENODATA") return [];
      throw osError(`look up ${name}`, thrown);
    }
  },
};

function listenError(address: string, port: number, thrown: unknown): BangerError {
  const code = systemCode(thrown);
  if (code === "EACCES" || code === "EPERM") {
    return new BangerError("permission_denied", `Cannot listen on ${address}:${port}: it needs root`);
  }
  if (code === "EADDRINUSE" || thrown instanceof Deno.errors.AddrInUse) {
    return new BangerError("already_exists", `Cannot listen on ${address}:${port}: somebody else does`);
  }
  if (thrown instanceof Deno.errors.AddrNotAvailable || code === "EADDRNOTAVAIL") {
    return new BangerError("not_found", `Cannot listen on ${address}:${port}: this host has no such address`);
  }
  return osError(`listen on ${address}:${port}`, thrown);
}

class DenoTcpListener implements TcpListener {
  readonly #listener: Deno.TcpListener;
  readonly port: number;
  #open = true;

  constructor(listener: Deno.TcpListener) {
    this.#listener = listener;
    this.port = listener.addr.port;
  }

  async *[Symbol.asyncIterator](): AsyncIterator<Connection> {
    while (this.#open) {
      try {
        const connection = await this.#listener.accept();
        connection.setNoDelay(true);
        yield new DenoConnection(connection);
      } catch (thrown) {
        if (!this.#open) return;
        if (thrown instanceof Deno.errors.BadResource) return;
        await new Promise((resolve) => setTimeout(resolve, ACCEPT_AGAIN_MS));
      }
    }
  }

  close(): void {
    if (this.#open) this.#listener.close();
    this.#open = false;
  }
}
