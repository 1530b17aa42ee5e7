import type { TcpFlow } from "./tcp_flow.ts";

/** Where segments go. */
export interface SegmentSender {
  /** @returns false where the link has no room now */
  send(
    flow: TcpFlow,
    segment: {
      flags: number;
      sequence: number;
      acknowledgement: number;
      window: number;
      payload?: Uint8Array;
    },
  ): boolean;
  /** The flow has something to send: its `pump` is to be called, again and again while it has. */
  due(flow: TcpFlow): void;
  /** The flow is over. */
  ended(flow: TcpFlow): void;
  now(): number;
  /** Bytes that a flow may hold for either side. */
  readonly heldBytes: number;
}

export interface FlowEnds {
  readonly guestPort: number;
  readonly remoteAddress: number;
  readonly remotePort: number;
}

/** Sequence numbers go round at 2^32. */
export function add(sequence: number, count: number): number {
  return (sequence + count) >>> 0;
}

/** @returns how far `one` is ahead of `other`; negative where it is behind */
export function difference(one: number, other: number): number {
  return (one - other) | 0;
}
