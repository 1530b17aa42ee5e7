import { BangerError } from "../base/errors.ts";
import type { Connection } from "../base/host.ts";
import type { Endpoint, Network, OnDatagram, TcpListener, UdpSocket } from "../base/network.ts";
import { isIpv4 } from "../base/net_rules.ts";
import { deepenBacklog } from "./backlog.ts";
import { osError, systemCode } from "./os_errors.ts";
import { offerFrames, receiveFrames } from "./tap.ts";
import { DenoConnection } from "./sockets.ts";
import { holdTunLink } from "./tun.ts";

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
        const listener = new DenoTcpListener(Deno.listen({ hostname: address, port }));
        if (isIpv4(address)) deepenBacklog(address, listener.port);
        return listener;
      } catch (thrown) {
        throw listenError(address, port, thrown);
      }
    });
  },

  bindUdp(address, port, onMessage) {
    return Promise.resolve().then(() => {
      try {
        const socket = Deno.listenDatagram({ transport: "udp", hostname: address, port });
        return new DenoUdpSocket(socket, onMessage);
      } catch (thrown) {
        throw listenError(address, port, thrown);
      }
    });
  },

  holdLink: (name) => Promise.resolve().then(() => holdTunLink(name)),
  offerFrames: (card, socketPath) => Promise.resolve().then(() => offerFrames(card, socketPath)),
  receiveFrames,

  ownAddresses: () => Deno.networkInterfaces().map(({ address }) => address.replace(/%.*$/, "")),
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

/** The largest payload of a datagram over IPv4. */
const MAX_DATAGRAM_BYTES = 65_507;

class DenoUdpSocket implements UdpSocket {
  readonly #socket: Deno.DatagramConn;
  readonly #onMessage: OnDatagram;
  readonly port: number;
  #open = true;

  constructor(socket: Deno.DatagramConn, onMessage: OnDatagram) {
    this.#socket = socket;
    this.#onMessage = onMessage;
    this.port = (socket.addr as Deno.NetAddr).port;
    void this.#receiveAll();
  }

  send(bytes: Uint8Array, to: Endpoint): void {
    if (!this.#open) return;
    this.#socket.send(bytes, { transport: "udp", hostname: to.address, port: to.port }).catch(() => {
      // Lost, as datagrams may be.
    });
  }

  close(): void {
    if (this.#open) this.#socket.close();
    this.#open = false;
  }

  async #receiveAll(): Promise<void> {
    const buffer = new Uint8Array(MAX_DATAGRAM_BYTES);
    while (this.#open) {
      try {
        const [bytes, from] = await this.#socket.receive(buffer);
        const { hostname, port } = from as Deno.NetAddr;
        if (this.#open) this.#onMessage(bytes.slice(), { address: hostname, port });
      } catch (thrown) {
        if (!this.#open || thrown instanceof Deno.errors.BadResource) return;
        // What we sent was refused where it went (ICMP): the socket itself is as good as before.
        if (!(thrown instanceof Deno.errors.ConnectionRefused)) {
          await new Promise((resolve) => setTimeout(resolve, ACCEPT_AGAIN_MS));
        }
      }
    }
  }
}
