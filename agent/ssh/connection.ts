import { BangerError, reasonOf } from "../../lib/base/errors.ts";
import type { Log } from "../../lib/base/host.ts";
import { STDIN_WINDOW_BYTES } from "../../lib/guest/wire/exec.ts";
import type { Descriptors } from "../descriptor.ts";
import { Channel, type ChannelHandler, MAX_DATA_BYTES } from "./channel.ts";
import { openForwarded } from "./forwarding.ts";
import { MESSAGE } from "./messages.ts";
import { SessionChannel } from "./session_channel.ts";
import type { Transport } from "./transport.ts";
import { SshReader, SshWriter } from "./wire.ts";

/** Of one connection; each takes memory, and a session a process. */
const MAX_CHANNELS = 256;
/** Reasons of RFC 4254, section 5.1 */
const OPEN_FAILURE = { prohibited: 1, connectFailed: 2, unknownType: 3, shortage: 4 } as const;

/** What the channels of one connection work with. */
export interface ConnectionContext {
  readonly descriptors: Descriptors;
  /** As the client asked for. */
  readonly user: string;
  readonly log: Log;
}

/** The channels of one client that has logged in. Source: RFC 4254 */
export class SshConnection {
  readonly #transport: Transport;
  readonly #context: ConnectionContext;
  readonly #channels = new Map<number, Channel>();
  #nextId = 0;
  #hasEnded = false;

  constructor(transport: Transport, context: ConnectionContext) {
    this.#transport = transport;
    this.#context = context;
  }

  /** @returns when the client has gone; all its channels have been told by then */
  async run(): Promise<void> {
    try {
      for (let payload; (payload = await this.#transport.receive()) !== undefined;) await this.#take(payload);
    } finally {
      this.#hasEnded = true;
      for (const channel of this.#channels.values()) channel.takeGone();
      this.#channels.clear();
    }
  }

  async #take(payload: Uint8Array): Promise<void> {
    const reader = new SshReader(payload, 1);
    const type = payload[0]!;
    if (type === MESSAGE.channelOpen) return await this.#open(reader);
    if (type === MESSAGE.globalRequest) return await this.#takeGlobal(reader);
    if (type === MESSAGE.requestSuccess || type === MESSAGE.requestFailure) return;
    if (type < MESSAGE.channelOpenConfirmation || type > MESSAGE.channelFailure) {
      throw new BangerError("corrupt_data", `Cannot take an ssh message of type ${type}`);
    }
    const id = reader.u32();
    const channel = this.#channels.get(id);
    // Closed on both sides; what was on its way is for nobody.
    if (!channel) return;
    await this.#takeOf(channel, id, type, reader);
  }

  async #takeOf(channel: Channel, id: number, type: number, reader: SshReader): Promise<void> {
    if (type === MESSAGE.channelData) channel.takeData(reader.string());
    else if (type === MESSAGE.channelWindowAdjust) channel.takeWindow(reader.u32());
    else if (type === MESSAGE.channelEof) channel.handler?.eof();
    else if (type === MESSAGE.channelRequest) {
      const [name, wantsReply] = [reader.text(), reader.boolean()];
      const granted = channel.isGone ? false : channel.handler?.request(name, reader.bytes(reader.leftBytes));
      if (wantsReply) await channel.answerRequest(granted !== false && granted !== undefined);
      if (typeof granted === "function") granted();
    } else if (type === MESSAGE.channelClose) {
      this.#channels.delete(id);
      channel.takeGone();
      await channel.close();
    }
  }

  async #open(reader: SshReader): Promise<void> {
    const [kind, theirId, theirWindow, theirMaxBytes] = [
      reader.text(),
      reader.u32(),
      reader.u32(),
      reader.u32(),
    ];
    const refuse = (reason: number, text: string) =>
      this.#transport.send(
        new SshWriter().u8(MESSAGE.channelOpenFailure).u32(theirId).u32(reason).string(text).string("")
          .done(),
      );
    if (this.#channels.size >= MAX_CHANNELS) return await refuse(OPEN_FAILURE.shortage, "too many channels");
    const confirm = async (makeHandler: (channel: Channel) => ChannelHandler) => {
      const id = this.#nextId++;
      const ourWindow = STDIN_WINDOW_BYTES;
      const channel = new Channel(this.#transport, { theirId, theirWindow, theirMaxBytes, ourWindow });
      this.#channels.set(id, channel);
      channel.handler = makeHandler(channel);
      // It may have taken its time, and the client has gone.
      if (this.#hasEnded) channel.takeGone();
      await this.#transport.send(
        new SshWriter().u8(MESSAGE.channelOpenConfirmation).u32(theirId).u32(id).u32(ourWindow)
          .u32(MAX_DATA_BYTES).done(),
      );
    };
    if (kind === "session") {
      return await confirm((channel) => new SessionChannel(this.#context, channel));
    }
    if (kind === "direct-tcpip" || kind === "direct-streamlocal@openssh.com") {
      const target = kind === "direct-tcpip"
        ? { hostname: reader.text(), port: reader.u32() }
        : { path: reader.text() };
      // Not waited for: other channels go on while one connects.
      void openForwarded(target, confirm, this.#context.log)
        .catch((failure) => refuse(OPEN_FAILURE.connectFailed, reasonOf(failure)))
        .catch((failure) =>
          this.#context.log("debug", "an ssh client has gone", { reason: reasonOf(failure) })
        );
      return;
    }
    await refuse(OPEN_FAILURE.unknownType, "the machine has no such channels");
  }

  /** Ports of the guest are not given away: nothing else is granted that a client can ask of all. */
  async #takeGlobal(reader: SshReader): Promise<void> {
    reader.string();
    if (reader.boolean()) {
      await this.#transport.send(new SshWriter().u8(MESSAGE.requestFailure).done());
    }
  }
}
