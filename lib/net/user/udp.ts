import { reasonOf } from "../../base/errors.ts";
import type { Log } from "../../base/host.ts";
import { ipv4Number, ipv4Text } from "../../base/net_rules.ts";
import type { Network, UdpSocket } from "../../base/network.ts";
import { HOST_ADDRESS } from "../policy.ts";
import {
  finishChecksum,
  PROTOCOL,
  pseudoHeaderSum,
  putUint16,
  sumBytes,
  UDP_BYTES,
  uint16,
} from "./packets.ts";
import type { PacketSender } from "./tcp.ts";

/** Sockets of ours for one guest, each for a port of the guest's. */
const MAX_SOCKETS = 256;
/** Who may answer on one of them: those that the guest has written to. */
const MAX_PEERS = 64;
const IDLE_MS = 60_000;
/** Held while a socket is being made. */
const MAX_WAITING = 16;

interface Port {
  socket: UdpSocket | undefined;
  readonly waiting: { bytes: Uint8Array; address: number; port: number }[];
  readonly peers: Set<string>;
  lastUsedMs: number;
}

/** The UDP side of the network: a socket of ours stands for each port that the guest sends from. */
export class Udp {
  readonly #host: { readonly network: Pick<Network, "bindUdp">; readonly log: Log };
  readonly #packets: PacketSender;
  readonly #ports = new Map<number, Port>();

  constructor(
    host: { readonly network: Pick<Network, "bindUdp">; readonly log: Log },
    packets: PacketSender,
  ) {
    this.#host = host;
    this.#packets = packets;
  }

  /** Sends a guest's datagram, which was allowed, on. Its bytes may be a view. */
  send(guestPort: number, address: number, port: number, bytes: Uint8Array): void {
    const known = this.#ports.get(guestPort);
    if (!known && this.#ports.size >= MAX_SOCKETS) return; // lost, as datagrams are
    const state = known ?? this.#open(guestPort);
    state.lastUsedMs = this.#packets.now();
    // In its order of use, so that the one that was used longest ago goes first.
    const peer = `${ipv4Text(realAddress(address))} ${port}`;
    state.peers.delete(peer);
    state.peers.add(peer);
    if (state.peers.size > MAX_PEERS) state.peers.delete(state.peers.values().next().value!);
    const datagram = { bytes: bytes.slice(), address, port };
    if (state.socket) sendNow(state.socket, datagram);
    else if (state.waiting.length < MAX_WAITING) state.waiting.push(datagram);
  }

  /** Puts a datagram to the guest on the link; it is lost where that has no room. */
  deliver(from: number, fromPort: number, guestPort: number, bytes: Uint8Array): void {
    const length = UDP_BYTES + bytes.length;
    if (length > this.#packets.mtu - 20) return;
    const out = this.#packets.packet(PROTOCOL.udp, from, length);
    if (!out) return;
    putUint16(out, 0, fromPort);
    putUint16(out, 2, guestPort);
    putUint16(out, 4, length);
    putUint16(out, 6, 0);
    out.set(bytes, UDP_BYTES);
    const sum = pseudoHeaderSum(from, this.#packets.guestAddress, PROTOCOL.udp, length) + sumBytes(out);
    // 0 would mean that there is no checksum (RFC 768).
    putUint16(out, 6, finishChecksum(sum) || 0xffff);
  }

  /** Other rules: who is not allowed any more is not heard any more, either. */
  keepPeers(isAllowed: (address: number, port: number) => boolean): void {
    for (const { peers } of this.#ports.values()) {
      for (const peer of peers) {
        const [address, port] = peer.split(" ");
        if (!isAllowed(guestAddressOf(address!), Number(port))) peers.delete(peer);
      }
    }
  }

  tick(): void {
    for (const [guestPort, { socket, lastUsedMs }] of this.#ports) {
      if (!socket || this.#packets.now() - lastUsedMs < IDLE_MS) continue;
      socket.close();
      this.#ports.delete(guestPort);
    }
  }

  close(): void {
    for (const { socket } of this.#ports.values()) socket?.close();
    this.#ports.clear();
  }

  #open(guestPort: number): Port {
    const state: Port = { socket: undefined, waiting: [], peers: new Set(), lastUsedMs: 0 };
    this.#ports.set(guestPort, state);
    void this.#bind(guestPort, state);
    return state;
  }

  async #bind(guestPort: number, state: Port): Promise<void> {
    try {
      const socket = await this.#host.network.bindUdp("0.0.0.0", 0, (bytes, from) => {
        if (!state.peers.has(`${from.address} ${from.port}`)) return;
        state.lastUsedMs = this.#packets.now();
        this.deliver(guestAddressOf(from.address), from.port, guestPort, bytes);
      });
      if (this.#ports.get(guestPort) !== state) return socket.close();
      state.socket = socket;
      for (const datagram of state.waiting.splice(0)) sendNow(socket, datagram);
    } catch (thrown) {
      this.#ports.delete(guestPort);
      this.#host.log("debug", "no socket for a guest's datagrams", { reason: reasonOf(thrown) });
    }
  }
}

function sendNow(
  socket: UdpSocket,
  { bytes, address, port }: { bytes: Uint8Array; address: number; port: number },
) {
  socket.send(bytes, { address: ipv4Text(realAddress(address)), port });
}

/** The host as the guest calls it is our loopback. */
export function realAddress(address: number): number {
  return address === HOST_ADDRESS ? LOOPBACK : address;
}

function guestAddressOf(address: string): number {
  const number = ipv4Number(address);
  return number === LOOPBACK ? HOST_ADDRESS : number;
}

const LOOPBACK = ipv4Number("127.0.0.1");

/** @returns undefined for what is no whole datagram */
export function parseUdp(
  bytes: Uint8Array,
): { sourcePort: number; destinationPort: number; payload: Uint8Array } | undefined {
  if (bytes.length < UDP_BYTES) return undefined;
  const length = uint16(bytes, 4);
  if (length < UDP_BYTES || length > bytes.length) return undefined;
  return {
    sourcePort: uint16(bytes, 0),
    destinationPort: uint16(bytes, 2),
    payload: bytes.subarray(UDP_BYTES, length),
  };
}
