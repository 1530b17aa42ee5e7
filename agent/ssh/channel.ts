import { BangerError } from "../../lib/base/errors.ts";
import { MESSAGE } from "./messages.ts";
import type { Transport } from "./transport.ts";
import { SshWriter } from "./wire.ts";

/** Of one data message to us; as OpenSSH. */
export const MAX_DATA_BYTES = 32 * 1024;
/** SSH_EXTENDED_DATA_STDERR (RFC 4254, section 5.2) */
const STDERR = 1;
const DATA_HEADER_BYTES = 16;
const MAX_WINDOW = 0xffff_ffff;

/** What a channel is for. None of these may throw for what the client does within its rights. */
export interface ChannelHandler {
  /** @param data valid until it returns. The sum of what was not granted again is at most the window */
  data(data: Uint8Array): void;
  /** No more data comes. */
  eof(): void;
  /** @returns whether it is granted; or that it is, and what to do once the client was told so */
  request(type: string, payload: Uint8Array): boolean | (() => void);
  /** The client has closed the channel, or has gone. Called once. */
  closed(): void;
}

/** One channel of a connection. Source: RFC 4254, section 5 */
export class Channel {
  readonly #transport: Transport;
  readonly #theirId: number;
  readonly #maxSendBytes: number;
  #sendWindow: number;
  #receiveWindow: number;
  #eofSent = false;
  #closeSent = false;
  #isGone = false;
  #wake: (() => void)[] = [];
  handler: ChannelHandler | undefined;

  constructor(
    transport: Transport,
    { theirId, theirWindow, theirMaxBytes, ourWindow }: {
      readonly theirId: number;
      readonly theirWindow: number;
      readonly theirMaxBytes: number;
      readonly ourWindow: number;
    },
  ) {
    this.#transport = transport;
    this.#theirId = theirId;
    this.#sendWindow = theirWindow;
    this.#maxSendBytes = Math.max(1, Math.min(theirMaxBytes, MAX_DATA_BYTES));
    this.#receiveWindow = ourWindow;
  }

  /** Whether nobody takes anything any more. */
  get isGone(): boolean {
    return this.#isGone || this.#closeSent;
  }

  /**
   * @returns when all of it is on its way: a client that reads slowly makes it wait
   * @throws {BangerError} `connection_failed` where the client has closed the channel
   */
  async send(data: Uint8Array, isStderr = false): Promise<void> {
    for (let at = 0; at < data.length;) {
      while (this.#sendWindow === 0 && !this.isGone) await this.#change();
      if (this.isGone) throw gone();
      const part = data.subarray(at, at + Math.min(this.#sendWindow, this.#maxSendBytes));
      this.#sendWindow -= part.length;
      at += part.length;
      const writer = new SshWriter(DATA_HEADER_BYTES + part.length);
      if (isStderr) writer.u8(MESSAGE.channelExtendedData).u32(this.#theirId).u32(STDERR);
      else writer.u8(MESSAGE.channelData).u32(this.#theirId);
      await this.#transport.send(writer.string(part).done());
    }
  }

  /** So many bytes more may come. */
  async grant(bytes: number): Promise<void> {
    if (bytes === 0 || this.isGone) return;
    this.#receiveWindow += bytes;
    await this.#transport.send(this.#message(MESSAGE.channelWindowAdjust).u32(bytes).done());
  }

  /** Nothing more is sent. Idempotent. */
  async sendEof(): Promise<void> {
    if (this.#eofSent || this.isGone) return;
    this.#eofSent = true;
    await this.#transport.send(this.#message(MESSAGE.channelEof).done());
  }

  /** How a command ended. Source: RFC 4254, section 6.10 */
  async sendExit(status: { readonly code: number } | { readonly signalName: string }): Promise<void> {
    if (this.isGone) return;
    const writer = this.#message(MESSAGE.channelRequest);
    if ("code" in status) writer.string("exit-status").boolean(false).u32(status.code);
    else {writer.string("exit-signal").boolean(false).string(status.signalName).boolean(false).string("")
        .string("");}
    await this.#transport.send(writer.done());
  }

  /** Idempotent. */
  async close(): Promise<void> {
    if (this.#closeSent) return;
    this.#closeSent = true;
    this.#notify();
    await this.#transport.send(this.#message(MESSAGE.channelClose).done());
  }

  async answerRequest(isGranted: boolean): Promise<void> {
    if (this.isGone) return;
    await this.#transport.send(
      this.#message(isGranted ? MESSAGE.channelSuccess : MESSAGE.channelFailure).done(),
    );
  }

  /** @throws {BangerError} `corrupt_data` beyond the window */
  takeData(data: Uint8Array): void {
    if (data.length > this.#receiveWindow) {
      throw new BangerError("corrupt_data", "Cannot take an ssh channel's data: it is beyond its window");
    }
    this.#receiveWindow -= data.length;
    if (!this.isGone) this.handler?.data(data);
  }

  takeWindow(bytes: number): void {
    this.#sendWindow = Math.min(this.#sendWindow + bytes, MAX_WINDOW);
    this.#notify();
  }

  /** The client has closed it, or has gone. */
  takeGone(): void {
    if (this.#isGone) return;
    this.#isGone = true;
    this.#notify();
    this.handler?.closed();
  }

  #message(type: number): SshWriter {
    return new SshWriter(64).u8(type).u32(this.#theirId);
  }

  #change(): Promise<void> {
    return new Promise((resolve) => this.#wake.push(resolve));
  }

  #notify(): void {
    const woken = this.#wake;
    this.#wake = [];
    for (const wake of woken) wake();
  }
}

function gone(): BangerError {
  return new BangerError("connection_failed", "Cannot send on the ssh channel: the client has closed it");
}
