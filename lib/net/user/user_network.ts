/**
 * A network of our own for one guest: Ethernet frames from its card on one side, sockets of this process on the
 * other. It needs no privilege, and nothing gets past it: each connection, datagram and name is decided here.
 *
 * ```text
 *   10.0.2.15  the guest       10.0.2.2  this host (denied unless allowed)       10.0.2.3  name server
 * ```
 */
import { reasonOf } from "../../base/errors.ts";
import type { Connection, Host } from "../../base/host.ts";
import { ipv4Number, ipv4Text, type NetRule } from "../../base/net_rules.ts";
import { SparingLog } from "../../base/sparing_log.ts";
import type { Refusal } from "../control.ts";
import { EgressPolicy, HOST_ADDRESS, RefusalLog } from "../policy.ts";
import { pumpBoth } from "../pump.ts";
import { FrameLink, MTU } from "./frame_link.ts";
import {
  ETHERNET_BYTES,
  ETHERTYPE,
  finishChecksum,
  IPV4_BYTES,
  type Ipv4Packet,
  parseIpv4,
  parseSegment,
  PROTOCOL,
  putEthernet,
  putIpv4,
  putUint16,
  sumBytes,
  uint16,
  uint32,
} from "./packets.ts";
import { GuestResolver } from "./resolver.ts";
import { type PacketSender, Tcp } from "./tcp.ts";
import type { TcpFlow } from "./tcp_flow.ts";
import { parseUdp, realAddress, Udp } from "./udp.ts";

const GUEST_ADDRESS = ipv4Number("10.0.2.15");
const RESOLVER_ADDRESS = ipv4Number("10.0.2.3");
const DNS_PORT = 53;
/** Locally administered, as the guest sees everybody on its wire. */
const OUR_MAC = Uint8Array.from([0x52, 0x55, 0x0a, 0x00, 0x02, 0x02]);
const TICK_MS = 250;
const ARP_BYTES = 28;
const ICMP = { echoReply: 0, unreachable: 3, echo: 8, prohibited: 13 } as const;

type NetworkHost = Pick<Host, "files" | "network" | "clock" | "log">;

export class UserNetwork implements PacketSender {
  readonly guestAddress = GUEST_ADDRESS;
  readonly mtu = MTU;
  readonly #host: NetworkHost;
  readonly #sparing: SparingLog;
  readonly #guestMac: Uint8Array;
  readonly #policy: EgressPolicy;
  readonly #refusals: RefusalLog;
  readonly #resolver: GuestResolver;
  readonly #tcp: Tcp;
  readonly #udp: Udp;
  /** Connections that the guest asked for, so that a changed policy can cut them. */
  readonly #outward = new Set<TcpFlow>();
  #link: FrameLink | undefined;

  /** @param mac of the guest's card, `52:54:00:…` */
  constructor(host: NetworkHost, mac: string, rules: readonly NetRule[]) {
    this.#host = host;
    this.#sparing = new SparingLog(host);
    this.#guestMac = Uint8Array.from(mac.split(":"), (byte) => parseInt(byte, 16));
    this.#policy = new EgressPolicy(host.clock, () => host.network.ownAddresses(), rules);
    this.#refusals = new RefusalLog(() => host.clock.now());
    this.#resolver = new GuestResolver(host, this.#policy, this.#refusals);
    this.#tcp = new Tcp(this, (flow) => void this.#accept(flow));
    this.#udp = new Udp(host, this);
  }

  /**
   * Carries the frames of one connection with the VMM until it ends or the signal fires. Afterwards all
   * connections with the guest are cut; another link may follow.
   */
  async run(connection: Connection, signal: AbortSignal): Promise<void> {
    const link = new FrameLink(connection, {
      onFrame: (frame) => this.#takeSafely(frame),
      onBatchEnd: () => this.#tcp.pumpDue(),
      onRoom: () => this.#tcp.pumpDue(),
    });
    this.#link = link;
    const close = () => link.close();
    signal.addEventListener("abort", close);
    const stopTicks = new AbortController();
    const ticking = this.#tickUntil(stopTicks.signal);
    try {
      await link.run();
    } finally {
      signal.removeEventListener("abort", close);
      stopTicks.abort();
      await ticking;
      this.#tcp.close();
      this.#udp.close();
      this.#link = undefined;
      link.close();
    }
  }

  /** Connects to a port of the guest. @throws {BangerError} `connection_failed` */
  connect(port: number): Promise<Connection> {
    return this.#tcp.connect(HOST_ADDRESS, port);
  }

  /** Takes other rules: connections that they do not allow are cut at once. */
  changeRules(rules: readonly NetRule[]): void {
    this.#policy.change(rules);
    for (const flow of this.#outward) {
      const verdict = this.#policy.decide(flow.remoteAddress, flow.remotePort);
      if (!verdict.allowed) flow.reset();
    }
    this.#udp.keepPeers((address, port) => this.#policy.decide(address, port).allowed);
  }

  refusals(): Refusal[] {
    return this.#refusals.list();
  }

  now(): number {
    return this.#host.clock.monotonicMs();
  }

  packet(protocol: number, source: number, payloadBytes: number): Uint8Array | undefined {
    const frame = this.#link?.frame(ETHERNET_BYTES + IPV4_BYTES + payloadBytes);
    if (!frame) return undefined;
    putEthernet(frame, this.#guestMac, OUR_MAC, ETHERTYPE.ipv4);
    putIpv4(frame, ETHERNET_BYTES, { protocol, source, destination: GUEST_ADDRESS, payloadBytes });
    return frame.subarray(ETHERNET_BYTES + IPV4_BYTES);
  }

  async #tickUntil(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      this.#tcp.tick();
      this.#udp.tick();
      await this.#host.clock.sleep(TICK_MS, signal).catch(() => {}); // the loop's condition sees it
    }
  }

  /** A frame that meets a mistake of ours is lost, as frames are; the network goes on. */
  #takeSafely(frame: Uint8Array): void {
    try {
      this.#takeFrame(frame);
    } catch (thrown) {
      this.#sparing.tell("error", "a guest's frame failed", { thrown });
    }
  }

  #takeFrame(frame: Uint8Array): void {
    if (frame.length < ETHERNET_BYTES) return;
    const type = uint16(frame, 12);
    const payload = frame.subarray(ETHERNET_BYTES);
    if (type === ETHERTYPE.arp) return this.#takeArp(payload);
    const packet = type === ETHERTYPE.ipv4 ? parseIpv4(payload) : undefined;
    // The guest has one address: what says to come from another is nobody's.
    if (!packet || packet.source !== GUEST_ADDRESS) return;
    if (packet.protocol === PROTOCOL.tcp) this.#takeTcp(packet);
    else if (packet.protocol === PROTOCOL.udp) this.#takeUdp(packet);
    else if (packet.protocol === PROTOCOL.icmp) this.#takeIcmp(packet);
  }

  /** Everybody on the wire but the guest is us. */
  #takeArp(request: Uint8Array): void {
    const isRequest = request.length >= ARP_BYTES && uint16(request, 6) === 1 &&
      uint16(request, 2) === ETHERTYPE.ipv4;
    const asked = isRequest ? uint32(request, 24) : GUEST_ADDRESS;
    if (asked === GUEST_ADDRESS) return;
    const frame = this.#link?.frame(ETHERNET_BYTES + ARP_BYTES);
    if (!frame) return;
    putEthernet(frame, this.#guestMac, OUR_MAC, ETHERTYPE.arp);
    const reply = frame.subarray(ETHERNET_BYTES);
    reply.set(request.subarray(0, 6));
    putUint16(reply, 6, 2);
    reply.set(OUR_MAC, 8);
    reply.set(request.subarray(24, 28), 14);
    reply.set(request.subarray(8, 18), 18);
  }

  #takeTcp(packet: Ipv4Packet): void {
    const segment = parseSegment(packet.payload);
    if (segment) this.#tcp.take(packet.destination, segment);
  }

  /** A connection that the guest asks for. The guest hears yes only after the other side has said so. */
  async #accept(flow: TcpFlow): Promise<void> {
    const { remoteAddress, remotePort } = flow;
    try {
      if (remoteAddress === RESOLVER_ADDRESS && remotePort === DNS_PORT) {
        flow.open();
        return await this.#resolver.serve(flow);
      }
      const verdict = this.#policy.decide(remoteAddress, remotePort);
      if (!verdict.allowed) {
        this.#refusals.add({ protocol: "tcp", target: verdict.target, port: remotePort, why: verdict.why });
        return flow.reset();
      }
      this.#outward.add(flow);
      const outside = await this.#host.network.connectTcp(ipv4Text(realAddress(remoteAddress)), remotePort);
      if (flow.isOver) return outside.close();
      flow.open();
      await pumpBoth(flow, outside);
    } catch (thrown) {
      this.#host.log("debug", "a guest's connection ended", { reason: reasonOf(thrown) });
      flow.reset();
    } finally {
      this.#outward.delete(flow);
    }
  }

  #takeUdp(packet: Ipv4Packet): void {
    const datagram = parseUdp(packet.payload);
    if (!datagram) return;
    const { sourcePort, destinationPort, payload } = datagram;
    if (packet.destination === RESOLVER_ADDRESS && destinationPort === DNS_PORT) {
      return void this.#resolve(sourcePort, payload.slice());
    }
    const verdict = this.#policy.decide(packet.destination, destinationPort);
    if (verdict.allowed) return this.#udp.send(sourcePort, packet.destination, destinationPort, payload);
    // Broadcasts and the like are no attempts to reach anything in particular.
    if (packet.destination < 0xe000_0000) {
      this.#refusals.add({
        protocol: "udp",
        target: verdict.target,
        port: destinationPort,
        why: verdict.why,
      });
    }
    this.#sayProhibited(packet);
  }

  async #resolve(guestPort: number, message: Uint8Array): Promise<void> {
    const answer = await this.#resolver.answer(message, false);
    if (answer) this.#udp.deliver(RESOLVER_ADDRESS, DNS_PORT, guestPort, answer);
  }

  /** Who is on the wire answers pings; sockets of ours cannot carry them further. */
  #takeIcmp({ destination, payload }: Ipv4Packet): void {
    const isHere = destination === HOST_ADDRESS || destination === RESOLVER_ADDRESS;
    if (!isHere || payload.length < 8 || payload[0] !== ICMP.echo) return;
    const reply = this.packet(PROTOCOL.icmp, destination, payload.length);
    if (!reply) return;
    reply.set(payload);
    reply[0] = ICMP.echoReply;
    putUint16(reply, 2, 0);
    putUint16(reply, 2, finishChecksum(sumBytes(reply)));
  }

  /** ICMP "communication administratively prohibited" (RFC 1812, section 5.2.7.1). */
  #sayProhibited({ destination, header, payload }: Ipv4Packet): void {
    const quoted = Math.min(payload.length, 8);
    const message = this.packet(PROTOCOL.icmp, destination, 8 + header.length + quoted);
    if (!message) return;
    message.fill(0, 0, 8);
    message[0] = ICMP.unreachable;
    message[1] = ICMP.prohibited;
    message.set(header, 8);
    message.set(payload.subarray(0, quoted), 8 + header.length);
    putUint16(message, 2, finishChecksum(sumBytes(message)));
  }
}
