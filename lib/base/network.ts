import type { Connection } from "./host.ts";

/** TCP and UDP of this host. Addresses are literal: names are resolved by whoever asks. */
export interface Network {
  /** @throws {BangerError} `connection_failed`, or what else stood in the way */
  connectTcp(address: string, port: number): Promise<Connection>;
  /**
   * @param port 0 for any free one
   * @throws {BangerError} `already_exists` where the port is taken, `permission_denied` where it is not ours to take
   */
  listenTcp(address: string, port: number): Promise<TcpListener>;
  /**
   * @param port 0 for any free one
   * @param onMessage is called for each datagram; its bytes are its own
   * @throws as `listenTcp`
   */
  bindUdp(address: string, port: number, onMessage: OnDatagram): Promise<UdpSocket>;
  /**
   * Keeps a link up that root made for this user (`ip tuntap add`): it has a carrier for as long as it is held,
   * and none after the end of this process, however it ends.
   *
   * @param name of a link that is there
   * @throws {BangerError} `permission_denied` for another user's, `in_use` where somebody holds it, `wrong_state`
   * for a link of another kind
   */
  holdLink(name: string): Promise<HeldLink>;
  /** Addresses of this host's interfaces, without zones. */
  ownAddresses(): readonly string[];
  /**
   * Opens all that passes a network card of the namespace that this process is in, and hands it to the process
   * that waits at `socketPath` (`receiveFrames`), whatever namespace that one is in. Ours may end then.
   *
   * @throws {BangerError} `not_found` where there is no such card, `permission_denied`
   */
  offerFrames(card: string, socketPath: string): Promise<void>;
  /**
   * Waits for what `offerFrames` hands over. Nothing may be at `socketPath`, and nothing is there afterwards.
   *
   * @param onReady is called once the other side may come
   * @returns Ethernet frames, each behind its length (big-endian, 32 bits); reads give whole frames, writes take
   * whole frames, and what the card has no room for is lost. Checksums of frames that come may be left undone.
   * @throws the signal's reason
   */
  receiveFrames(socketPath: string, onReady: () => void, signal: AbortSignal): Promise<Connection>;
}

/** Disposing lets it go. Idempotent. */
export type HeldLink = Disposable;

export interface Endpoint {
  readonly address: string;
  readonly port: number;
}

export type OnDatagram = (bytes: Uint8Array, from: Endpoint) => void;

export interface TcpListener extends AsyncIterable<Connection> {
  readonly port: number;
  /** Ends the iteration. Connections that were accepted stay. Idempotent. */
  close(): void;
}

export interface UdpSocket {
  readonly port: number;
  /** Datagrams may be lost: so is one that the system refuses. */
  send(bytes: Uint8Array, to: Endpoint): void;
  /** Idempotent. */
  close(): void;
}
