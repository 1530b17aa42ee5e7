import type { Connection } from "../../base/host.ts";
import {
  finishChecksum,
  IPV4_BYTES,
  PROTOCOL,
  pseudoHeaderSum,
  putUint16,
  putUint32,
  type Segment,
  sumBytes,
  TCP_BYTES,
  TCP_FLAG,
} from "./packets.ts";
import type { FlowEnds, SegmentSender } from "./segments.ts";
import { TcpFlow, WINDOW_SHIFT } from "./tcp_flow.ts";

const MAX_FLOWS = 1024;
/** What a flow may hold for either side: fast while there are few, and no way to fill this host's memory. */
const HELD_BYTES = 1024 * 1024;
const HELD_BYTES_OF_MANY = 64 * 1024;
const FEW_FLOWS = 64;
/** Of our side of what we ask the guest for: a guest keeps each for a minute after it has closed first. */
const FIRST_PORT = 1024;

/** What carries the packets. */
export interface PacketSender {
  /**
   * @returns where to write the payload of a packet to the guest; undefined where the link has no room now
   */
  packet(protocol: number, source: number, payloadBytes: number): Uint8Array | undefined;
  readonly guestAddress: number;
  /** Of a whole IPv4 packet. */
  readonly mtu: number;
  now(): number;
}

/** Takes a connection that the guest asks for: opens or resets the flow. */
export type AcceptFlow = (flow: TcpFlow) => void;

/** The TCP side of the network: all connections of one guest. */
export class Tcp implements SegmentSender {
  readonly #packets: PacketSender;
  readonly #accept: AcceptFlow;
  readonly #flows = new Map<string, TcpFlow>();
  readonly #due = new Set<TcpFlow>();
  #isPumping = false;
  #nextPort = FIRST_PORT;

  constructor(packets: PacketSender, accept: AcceptFlow) {
    this.#packets = packets;
    this.#accept = accept;
  }

  get flows(): Iterable<TcpFlow> {
    return this.#flows.values();
  }

  /** Takes a segment of the guest to `remoteAddress`. */
  take(remoteAddress: number, segment: Segment): void {
    const ends = { guestPort: segment.sourcePort, remoteAddress, remotePort: segment.destinationPort };
    const flow = this.#flows.get(keyOf(ends));
    if (flow) {
      flow.take(segment);
      if (!flow.isOver) this.#due.add(flow);
      return;
    }
    const isNew = (segment.flags & (TCP_FLAG.syn | TCP_FLAG.ack | TCP_FLAG.rst)) === TCP_FLAG.syn;
    if (!isNew || this.#flows.size >= MAX_FLOWS) return this.refuse(remoteAddress, segment);
    const made = new TcpFlow(this, ends, this.#maxSegment, segment);
    this.#flows.set(keyOf(ends), made);
    this.#accept(made);
  }

  /** Answers a segment of no connection: the guest sees "connection refused" (RFC 9293, section 3.10.7.1). */
  refuse(remoteAddress: number, segment: Segment): void {
    if (segment.flags & TCP_FLAG.rst) return;
    const hasAck = (segment.flags & TCP_FLAG.ack) !== 0;
    const length = segment.payload.length + (segment.flags & TCP_FLAG.syn ? 1 : 0) +
      (segment.flags & TCP_FLAG.fin ? 1 : 0);
    this.#put({ guestPort: segment.sourcePort, remoteAddress, remotePort: segment.destinationPort }, {
      flags: hasAck ? TCP_FLAG.rst : TCP_FLAG.rst | TCP_FLAG.ack,
      sequence: hasAck ? segment.acknowledgement : 0,
      acknowledgement: hasAck ? 0 : (segment.sequence + length) >>> 0,
      window: 0,
    });
  }

  /**
   * Connects to a port of the guest, as from `remoteAddress`.
   *
   * @throws {BangerError} `connection_failed`
   */
  async connect(remoteAddress: number, guestPort: number): Promise<Connection> {
    const flow = new TcpFlow(this, this.#freeEnds(remoteAddress, guestPort), this.#maxSegment);
    this.#flows.set(keyOf(flow), flow);
    flow.open();
    await flow.opened;
    return flow;
  }

  /** Sends what the segments that came together made due. */
  pumpDue(): void {
    if (this.#isPumping) return;
    this.#isPumping = true;
    try {
      for (const flow of this.#due) {
        this.#due.delete(flow);
        const rest = flow.pump();
        // A set goes through what is added meanwhile, so each gets its turn.
        if (rest !== "done") this.#due.add(flow);
        if (rest === "full") return;
      }
    } finally {
      this.#isPumping = false;
    }
  }

  tick(): void {
    const nowMs = this.#packets.now();
    for (const flow of this.#flows.values()) flow.tick(nowMs);
    this.pumpDue();
  }

  /** Cuts all connections. */
  close(): void {
    for (const flow of [...this.#flows.values()]) flow.reset();
  }

  due(flow: TcpFlow): void {
    this.#due.add(flow);
    this.pumpDue();
  }

  ended(flow: TcpFlow): void {
    this.#due.delete(flow);
    this.#flows.delete(keyOf(flow));
  }

  now(): number {
    return this.#packets.now();
  }

  get heldBytes(): number {
    return this.#flows.size <= FEW_FLOWS ? HELD_BYTES : HELD_BYTES_OF_MANY;
  }

  send(
    flow: TcpFlow,
    segment: {
      flags: number;
      sequence: number;
      acknowledgement: number;
      window: number;
      payload?: Uint8Array;
    },
  ): boolean {
    return this.#put(flow, segment, flow.scalesWindow);
  }

  get #maxSegment(): number {
    return this.#packets.mtu - IPV4_BYTES - TCP_BYTES;
  }

  #freeEnds(remoteAddress: number, guestPort: number): FlowEnds {
    for (;;) {
      const ends = { guestPort, remoteAddress, remotePort: this.#nextPort };
      this.#nextPort = this.#nextPort === 65_535 ? FIRST_PORT : this.#nextPort + 1;
      if (!this.#flows.has(keyOf(ends))) return ends;
    }
  }

  #put(
    { guestPort, remoteAddress, remotePort }: FlowEnds,
    { flags, sequence, acknowledgement, window, payload }: {
      flags: number;
      sequence: number;
      acknowledgement: number;
      window: number;
      payload?: Uint8Array;
    },
    scalesWindow = false,
  ): boolean {
    const isSyn = (flags & TCP_FLAG.syn) !== 0;
    const headerBytes = TCP_BYTES + (isSyn ? (scalesWindow ? 8 : 4) : 0);
    const length = headerBytes + (payload?.length ?? 0);
    const out = this.#packets.packet(PROTOCOL.tcp, remoteAddress, length);
    if (!out) return false;
    out.fill(0, 0, headerBytes);
    putUint16(out, 0, remotePort);
    putUint16(out, 2, guestPort);
    putUint32(out, 4, sequence);
    putUint32(out, 8, acknowledgement);
    out[12] = (headerBytes / 4) << 4;
    out[13] = flags;
    putUint16(out, 14, window);
    if (isSyn) putSynOptions(out, this.#maxSegment, scalesWindow);
    let sum = pseudoHeaderSum(remoteAddress, this.#packets.guestAddress, PROTOCOL.tcp, length) +
      sumBytes(out.subarray(0, headerBytes));
    if (payload) {
      out.set(payload, headerBytes);
      // Summed where it lies on a word's border, which is quicker than where it was put.
      sum += sumBytes(payload);
    }
    putUint16(out, 16, finishChecksum(sum));
    return true;
  }
}

function putSynOptions(out: Uint8Array, maxSegment: number, scalesWindow: boolean): void {
  out.set([2, 4, maxSegment >>> 8, maxSegment & 0xff], TCP_BYTES);
  if (scalesWindow) out.set([1, 3, 3, WINDOW_SHIFT], TCP_BYTES + 4);
}

function keyOf({ guestPort, remoteAddress, remotePort }: FlowEnds): string {
  return `${guestPort} ${remoteAddress} ${remotePort}`;
}
