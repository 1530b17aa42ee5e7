/**
 * One TCP connection with the guest, ended here: towards the guest a TCP of its own, towards us a byte stream.
 *
 * The link below loses nothing and keeps the order, so what is left of TCP is its windows and its ends. There
 * is no congestion to avoid; a timer goes back to the first byte that was not acknowledged, for guests that drop
 * packets when they are busy.
 *
 * Source: RFC 9293; RFC 7323 (window scale)
 */
import { BangerError } from "../../base/errors.ts";
import type { Connection } from "../../base/host.ts";
import { ReceiveQueue, SendQueue } from "./byte_queues.ts";
import { add, difference, type FlowEnds, type SegmentSender } from "./segments.ts";
import { type Segment, TCP_FLAG } from "./packets.ts";
import { RetransmissionTimer } from "./retransmission_timer.ts";

export const WINDOW_SHIFT = 7;
/** Where a guest's SYN names none (RFC 9293, section 3.7.1). */
const DEFAULT_MSS = 536;
/** Segments at a time, so that one connection does not keep the link from the others. */
const BURST = 4;
const DUPLICATES_FOR_RETRANSMISSION = 3;

type State = "opening" | "asked" | "open" | "over";

export class TcpFlow implements Connection, FlowEnds {
  readonly guestPort: number;
  readonly remoteAddress: number;
  readonly remotePort: number;
  readonly #sender: SegmentSender;
  readonly #opened = Promise.withResolvers<void>();
  #state: State;
  #mss = DEFAULT_MSS;
  #maxSegment: number;
  // Towards the guest.
  readonly #queue = new SendQueue();
  #unacknowledged: number;
  #next: number;
  #highest: number;
  #window = 0;
  #guestShift = 0;
  #hasMetOlder = false;
  #finQueued = false;
  #finAcknowledged = false;
  #duplicates = 0;
  readonly #timer: RetransmissionTimer;
  // From the guest.
  readonly #received = new ReceiveQueue();
  #expected = 0;
  #advertisedEnd = 0;
  #shift = 0;
  #finReceived = false;
  #oweAcknowledgement = false;
  // Towards us.
  #isClosed = false;
  #failure: BangerError | undefined;
  #wakeReader: (() => void) | undefined;
  #wakeWriter: (() => void) | undefined;

  /** @param syn of the guest; absent where we ask the guest */
  constructor(sender: SegmentSender, ends: FlowEnds, maxSegment: number, syn?: Segment) {
    this.guestPort = ends.guestPort;
    this.remoteAddress = ends.remoteAddress;
    this.remotePort = ends.remotePort;
    this.#sender = sender;
    this.#maxSegment = maxSegment;
    this.#unacknowledged = crypto.getRandomValues(new Uint32Array(1))[0]!;
    this.#next = this.#unacknowledged;
    this.#highest = this.#next;
    this.#timer = new RetransmissionTimer(sender.now());
    this.#state = syn ? "asked" : "opening";
    if (syn) this.#takeSyn(syn);
    this.#opened.promise.catch(() => {}); // who waits for it hears of it
  }

  /** Resolves once the guest has taken the connection. @throws {BangerError} `connection_failed` */
  get opened(): Promise<void> {
    return this.#opened.promise;
  }

  get isOver(): boolean {
    return this.#state === "over";
  }

  /** Sends our SYN, or our answer to the guest's. */
  open(): void {
    this.#next = this.#unacknowledged;
    this.#sendControl(TCP_FLAG.syn | (this.#state === "asked" ? TCP_FLAG.ack : 0));
    this.#next = add(this.#unacknowledged, 1);
    this.#highest = this.#next;
  }

  /** Takes a segment of the guest. What it makes due is sent by `pump`, after all that came together. */
  take(segment: Segment): void {
    if (this.#state === "over") return;
    if (segment.flags & TCP_FLAG.rst) return this.#takeReset(segment);
    if (segment.flags & TCP_FLAG.syn) {
      if (this.#state === "opening" && segment.flags & TCP_FLAG.ack) this.#takeSynAnswer(segment);
      else if (this.#state === "asked" && this.#next !== this.#unacknowledged) this.open();
      else this.#oweAcknowledgement = true;
      return;
    }
    if (!(segment.flags & TCP_FLAG.ack)) return;
    if (this.#state === "opening") return this.#endOlder(segment);
    if (!this.#takeAcknowledgement(segment)) return;
    this.#takeData(segment);
    this.#endIfDone();
  }

  /** Sends some of what is due: data, the end, an acknowledgement. @returns what is to become of the rest */
  pump(): "done" | "more" | "full" {
    if (this.#state !== "open") return "done";
    for (let count = 0; count < BURST; count++) {
      const sent = this.#sendNext();
      if (sent === "nothing") break;
      if (sent === "full") return "full";
    }
    if (this.#oweAcknowledgement && !this.#sendControl(TCP_FLAG.ack)) return "full";
    return this.#hasMore() ? "more" : "done";
  }

  /** Called now and then: sends again what was not acknowledged in time. */
  tick(nowMs: number): void {
    if (this.#state === "over") return;
    const isWaiting = this.#next !== this.#unacknowledged ||
      (this.#queue.sizeBytes > 0 && this.#state === "open");
    if (!isWaiting) return this.#timer.rest(nowMs);
    // A guest whose window is closed answers each probe: it may do so for ever.
    const expires = this.#timer.expires(nowMs, this.#window > 0 || this.#state !== "open");
    if (expires === "no") return;
    if (expires === "for good") return this.#fail("the guest does not answer", true);
    if (this.#state !== "open") return this.open();
    this.#next = this.#unacknowledged;
    if (this.#window === 0 && this.#queue.sizeBytes > 0) this.#sendPart(1);
    else this.#sender.due(this);
  }

  async read(into: Uint8Array): Promise<number | null> {
    for (;;) {
      if (this.#received.sizeBytes > 0) return this.#takeReceived(into);
      if (this.#failure) throw this.#failure;
      if (this.#finReceived || this.#isClosed) return null;
      await new Promise<void>((resolve) => this.#wakeReader = resolve);
    }
  }

  async write(bytes: Uint8Array): Promise<number> {
    while (this.#queue.sizeBytes >= this.#sender.heldBytes && !this.#failure && !this.#isClosed) {
      await new Promise<void>((resolve) => this.#wakeWriter = resolve);
    }
    if (this.#failure) throw this.#failure;
    if (this.#isClosed || this.#finQueued) throw gone("it is closed");
    this.#queue.push(bytes.slice());
    this.#sender.due(this);
    return bytes.length;
  }

  closeWrite(): Promise<void> {
    if (this.#state === "over") return Promise.resolve();
    this.#finQueued = true;
    this.#sender.due(this);
    return Promise.resolve();
  }

  /** What both sides have ended goes on until the guest has all of it; anything else is cut. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    if (this.#state !== "over" && !(this.#finQueued && this.#finReceived)) this.reset();
    this.#wake();
  }

  /** Cuts the connection; the guest is told. */
  reset(): void {
    this.#fail("it was cut", true);
  }

  #takeSyn(syn: Segment): void {
    this.#expected = add(syn.sequence, 1);
    this.#advertisedEnd = this.#expected;
    this.#mss = Math.min(Math.max(syn.mss ?? DEFAULT_MSS, 64), this.#maxSegment);
    this.#guestShift = syn.windowShift ?? 0;
    // Both scale their windows, or neither does.
    this.#shift = syn.windowShift === undefined ? 0 : WINDOW_SHIFT;
    this.#window = syn.window;
  }

  /** Whether the guest's SYN scales windows, so that ours may say so, too. */
  get scalesWindow(): boolean {
    return this.#state === "opening" || this.#shift > 0;
  }

  /**
   * Resets what the guest, which closed it first, keeps for a minute of a connection before, by the same ports (RFC 9293,
   * section 3.10.7.3). The SYN goes again at once, but no more than once: the timer does the rest.
   */
  #endOlder({ acknowledgement: sequence }: Segment): void {
    if (sequence === this.#next) return;
    this.#sender.send(this, { flags: TCP_FLAG.rst, sequence, acknowledgement: 0, window: 0 });
    if (!this.#hasMetOlder) this.open();
    this.#hasMetOlder = true;
  }

  #takeSynAnswer(segment: Segment): void {
    if (segment.acknowledgement !== this.#next) return this.#endOlder(segment);
    this.#takeSyn(segment);
    this.#setOpen();
    this.#oweAcknowledgement = true;
  }

  /** Our SYN, which takes a sequence number, was acknowledged. */
  #setOpen(): void {
    this.#state = "open";
    this.#unacknowledged = this.#next;
    this.#progress();
    this.#opened.resolve();
  }

  #progress(): void {
    this.#duplicates = 0;
    this.#timer.progress(this.#sender.now());
  }

  /** Only a reset at the place that we expect counts, or one of our SYN (RFC 9293, section 3.10.7). */
  #takeReset(segment: Segment): void {
    const isAnswer = this.#state === "opening" && segment.acknowledgement === this.#next;
    const offset = difference(segment.sequence, this.#expected);
    if (
      isAnswer ||
      (this.#state !== "opening" && offset >= 0 &&
        offset <= Math.max(0, difference(this.#advertisedEnd, this.#expected)))
    ) {
      this.#fail(isAnswer ? "nothing listens there" : "the guest cut the connection", false);
    }
  }

  /** @returns whether the rest of the segment counts */
  #takeAcknowledgement(segment: Segment): boolean {
    const advance = difference(segment.acknowledgement, this.#unacknowledged);
    if (difference(segment.acknowledgement, this.#highest) > 0) {
      this.#oweAcknowledgement = true;
      return false;
    }
    const window = segment.window << this.#guestShift;
    if (this.#state === "asked") {
      if (advance !== 1 || this.#next === this.#unacknowledged) return false;
      this.#setOpen();
    } else if (advance > 0) {
      this.#acknowledged(segment.acknowledgement);
    } else if (advance === 0 && this.#window === 0 && window > 0) {
      // What was sent as a probe may not have been taken.
      this.#next = this.#unacknowledged;
    } else if (advance === 0 && segment.payload.length === 0 && window === this.#window) {
      this.#countDuplicate();
    }
    if (advance >= 0) this.#window = window;
    return true;
  }

  #acknowledged(acknowledgement: number): void {
    const count = difference(acknowledgement, this.#unacknowledged);
    // The end takes a sequence number behind the data.
    if (count > this.#queue.sizeBytes) this.#finAcknowledged = true;
    this.#unacknowledged = acknowledgement;
    if (difference(this.#next, acknowledgement) < 0) this.#next = acknowledgement;
    this.#progress();
    this.#queue.drop(count);
    if (this.#queue.sizeBytes < this.#sender.heldBytes) this.#wakeOneWriter();
  }

  #countDuplicate(): void {
    if (this.#next === this.#unacknowledged) return;
    if (++this.#duplicates === DUPLICATES_FOR_RETRANSMISSION) this.#next = this.#unacknowledged;
  }

  #takeData(segment: Segment): void {
    const isFin = (segment.flags & TCP_FLAG.fin) !== 0;
    if (segment.payload.length === 0 && !isFin) return;
    this.#oweAcknowledgement = true;
    const overlap = difference(this.#expected, segment.sequence);
    // A gap: the guest sends the missing part again, and what is behind it, too.
    if (overlap < 0 || overlap > segment.payload.length || this.#finReceived) return;
    const room = difference(this.#advertisedEnd, this.#expected);
    const fresh = segment.payload.subarray(overlap, overlap + room);
    if (fresh.length > 0 && !this.#isClosed) {
      this.#received.push(fresh.slice());
    }
    this.#expected = add(this.#expected, fresh.length);
    if (isFin && overlap + fresh.length === segment.payload.length) {
      this.#expected = add(this.#expected, 1);
      this.#finReceived = true;
    }
    this.#wakeReaderNow();
  }

  #takeReceived(into: Uint8Array): number {
    const count = this.#received.take(into);
    // A guest that met a closed window waits to be told that it is open again.
    const end = add(this.#expected, this.#room());
    if (difference(end, this.#advertisedEnd) >= this.#sender.heldBytes / 2 && this.#state === "open") {
      this.#sendControl(TCP_FLAG.ack);
    }
    return count;
  }

  #sendNext(): "sent" | "full" | "nothing" {
    const inFlight = difference(this.#next, this.#unacknowledged);
    const unsent = this.#queue.sizeBytes - inFlight;
    const room = this.#window - inFlight;
    if (unsent > 0 && room > 0) return this.#sendPart(Math.min(unsent, room, this.#mss)) ? "sent" : "full";
    if (unsent === 0 && this.#finQueued && !this.#finAcknowledged) {
      if (!this.#sendControl(TCP_FLAG.fin | TCP_FLAG.ack)) return "full";
      this.#advance(1);
    }
    return "nothing";
  }

  #hasMore(): boolean {
    const inFlight = difference(this.#next, this.#unacknowledged);
    return this.#queue.sizeBytes > inFlight && this.#window > inFlight;
  }

  /** Sends from `#next`, up to `maxBytes` and to the end of a piece. */
  #sendPart(maxBytes: number): boolean {
    const offset = difference(this.#next, this.#unacknowledged);
    const { part: payload, endsPiece } = this.#queue.at(offset, maxBytes);
    const flags = TCP_FLAG.ack | (endsPiece ? TCP_FLAG.psh : 0);
    if (!this.#sendControl(flags, payload)) return false;
    this.#advance(payload.length);
    return true;
  }

  #advance(count: number): void {
    this.#next = add(this.#next, count);
    if (difference(this.#next, this.#highest) > 0) this.#highest = this.#next;
  }

  #sendControl(flags: number, payload?: Uint8Array): boolean {
    const room = this.#room();
    // A SYN's window is never scaled.
    const shift = flags & TCP_FLAG.syn ? 0 : this.#shift;
    const window = Math.min(room >>> shift, 0xffff);
    const isSent = this.#sender.send(this, {
      flags,
      sequence: this.#next,
      acknowledgement: flags & TCP_FLAG.ack ? this.#expected : 0,
      window,
      ...(payload ? { payload } : {}),
    });
    if (isSent) {
      this.#oweAcknowledgement = false;
      this.#advertisedEnd = add(this.#expected, window << shift);
    } else if (flags & TCP_FLAG.ack) this.#oweAcknowledgement = true;
    return isSent;
  }

  /** What the guest may send: never less than it was told before (RFC 9293, section 3.8.6). */
  #room(): number {
    const told = difference(this.#advertisedEnd, this.#expected);
    return Math.max(this.#sender.heldBytes - this.#received.sizeBytes, told, 0);
  }

  #endIfDone(): void {
    if (!this.#finAcknowledged || !this.#finReceived || this.#state !== "open") return;
    if (this.#oweAcknowledgement) this.#sendControl(TCP_FLAG.ack);
    this.#state = "over";
    this.#sender.ended(this);
    this.#wake();
  }

  #fail(why: string, tellGuest: boolean): void {
    if (this.#state === "over") return;
    if (tellGuest) this.#sendControl(TCP_FLAG.rst | TCP_FLAG.ack);
    this.#state = "over";
    this.#failure = gone(why);
    this.#queue.clear();
    this.#opened.reject(this.#failure);
    this.#sender.ended(this);
    this.#wake();
  }

  #wake(): void {
    this.#wakeReaderNow();
    this.#wakeOneWriter();
  }

  #wakeReaderNow(): void {
    this.#wakeReader?.();
    this.#wakeReader = undefined;
  }

  #wakeOneWriter(): void {
    this.#wakeWriter?.();
    this.#wakeWriter = undefined;
  }
}

function gone(why: string): BangerError {
  return new BangerError("connection_failed", `Cannot use a connection with the guest: ${why}`);
}
