import { BangerError } from "../../lib/base/errors.ts";
import type { Connection } from "../../lib/base/host.ts";
import { agree, type Agreement, encodeOffer, exchange } from "./key_exchange.ts";
import type { HostKey } from "./keys.ts";
import { MESSAGE } from "./messages.ts";
import { PacketReader, PacketWriter } from "./packets.ts";
import { SshWriter } from "./wire.ts";

const SERVER_VERSION = "SSH-2.0-banger";
/** Source: RFC 4253, section 4.2 */
const MAX_VERSION_BYTES = 255;
/** Up to here messages are the transport's own. */
const LAST_TRANSPORT_MESSAGE = 49;
/** What may wait for the end of a key exchange; who sends so much would wait anyway. */
const MAX_HELD_BYTES = 8 * 1024 * 1024;

interface Exchanging {
  readonly serverOffer: Uint8Array;
  /** Once the client's is here. */
  clientOffer?: Uint8Array;
  agreement?: Agreement;
}

/**
 * The server's side of one ssh connection: encrypted messages in order, keys exchanged at the start and
 * whenever the client asks for new ones. Source: RFC 4253
 */
export class Transport {
  readonly #connection: Connection;
  readonly #reader: PacketReader;
  readonly #writer: PacketWriter;
  readonly #hostKey: HostKey;
  #clientVersion = "";
  #sessionId: Uint8Array | undefined;
  #exchanging: Exchanging | undefined;
  #keyIn: PacketReader["key"];
  /** Messages that wait for new keys. */
  #held: { readonly payload: Uint8Array; readonly sent: (result: Promise<void>) => void }[] = [];
  #heldBytes = 0;
  #received = 0;

  constructor(connection: Connection, hostKey: HostKey) {
    this.#connection = connection;
    this.#reader = new PacketReader(connection);
    this.#writer = new PacketWriter(connection);
    this.#hostKey = hostKey;
  }

  /** Of the first key exchange: signatures name it. */
  get sessionId(): Uint8Array {
    if (this.#sessionId) return this.#sessionId;
    throw new BangerError("internal", "Cannot name the ssh session: it has no keys yet");
  }

  /** @returns false where the client goes first */
  async open(): Promise<boolean> {
    await this.#writer.sendRaw(new TextEncoder().encode(`${SERVER_VERSION}\r\n`));
    const line = await this.#reader.line(MAX_VERSION_BYTES);
    if (line === undefined) return false;
    if (!/^SSH-2\.0-[\u0021-\u007e][\u0020-\u007e]*$/.test(line)) {
      throw new BangerError("corrupt_data", "Cannot speak with the client: it does not speak ssh 2");
    }
    this.#clientVersion = line;
    await this.#offer();
    return true;
  }

  /** @returns the next message above the transport's own, valid until the next call; undefined at the end */
  async receive(): Promise<Uint8Array | undefined> {
    for (;;) {
      const payload = await this.#reader.next();
      if (payload === undefined) return undefined;
      this.#received++;
      const type = payload[0]!;
      if (type > LAST_TRANSPORT_MESSAGE) {
        // Until its new keys are in use, all that comes could be anybody's.
        if (!this.#sessionId || this.#keyIn) throw outOfPlace(type);
        return payload;
      }
      if (type === MESSAGE.serviceRequest && this.#sessionId && !this.#keyIn) return payload;
      if (type === MESSAGE.disconnect) return undefined;
      await this.#takeOwn(type, payload);
    }
  }

  /** @param payload copied where it has to wait. @returns when it is written */
  send(payload: Uint8Array): Promise<void> {
    if (!this.#exchanging) return this.#writer.send(payload);
    this.#heldBytes += payload.length;
    if (this.#heldBytes > MAX_HELD_BYTES) {
      throw new BangerError(
        "connection_failed",
        "Cannot send to the ssh client: it does not finish its new keys",
      );
    }
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#held.push({ payload: payload.slice(), sent: resolve });
    return promise;
  }

  /** Tells why, as far as the client still listens. */
  async disconnect(reason: number, text: string): Promise<void> {
    const message = new SshWriter().u8(MESSAGE.disconnect).u32(reason).string(text).string("").done();
    await this.#writer.send(message).catch(() => {}); // it may have gone
    this.close();
  }

  close(): void {
    this.#connection.close();
  }

  async #takeOwn(type: number, payload: Uint8Array): Promise<void> {
    const agreement = this.#exchanging?.agreement;
    if (type === MESSAGE.kexInit) return await this.#takeOffer(payload.slice());
    if (type === MESSAGE.ecdhInit && agreement) return await this.#takePoint(payload, agreement);
    if (type === MESSAGE.newKeys && this.#keyIn) {
      this.#reader.key = this.#keyIn;
      this.#keyIn = undefined;
      return;
    }
    // Nothing but the exchange itself may come before the first keys.
    if (!this.#sessionId && (agreement?.isStrict ?? true)) throw outOfPlace(type);
    if (type === MESSAGE.ignore || type === MESSAGE.debug || type === MESSAGE.unimplemented) return;
    if (type === MESSAGE.extInfo) return;
    await this.#writer.send(new SshWriter().u8(MESSAGE.unimplemented).u32(this.#received - 1).done());
  }

  async #offer(): Promise<Exchanging> {
    const serverOffer = encodeOffer().slice();
    const exchanging = { serverOffer };
    this.#exchanging = exchanging;
    await this.#writer.send(serverOffer);
    return exchanging;
  }

  async #takeOffer(clientOffer: Uint8Array): Promise<void> {
    const exchanging = this.#exchanging ?? await this.#offer();
    if (exchanging.clientOffer || this.#keyIn) throw outOfPlace(MESSAGE.kexInit);
    exchanging.clientOffer = clientOffer;
    exchanging.agreement = agree(clientOffer);
    if (exchanging.agreement.isGuessWrong) await this.#reader.next();
  }

  async #takePoint(clientInit: Uint8Array, agreement: Agreement): Promise<void> {
    const { serverOffer, clientOffer } = this.#exchanging!;
    const { reply, hash, keys } = exchange(clientInit, {
      clientVersion: this.#clientVersion,
      serverVersion: SERVER_VERSION,
      clientOffer: clientOffer!,
      serverOffer,
    }, this.#hostKey);
    this.#sessionId ??= hash;
    const derived = keys(this.#sessionId, agreement);
    await this.#writer.send(reply);
    await this.#writer.send(new SshWriter().u8(MESSAGE.newKeys).done());
    this.#writer.key = derived.out;
    this.#keyIn = derived.in;
    this.#exchanging = undefined;
    const held = this.#held.splice(0);
    this.#heldBytes = 0;
    for (const { payload, sent } of held) sent(this.#writer.send(payload));
  }
}

function outOfPlace(type: number): BangerError {
  return new BangerError("corrupt_data", `Cannot take an ssh message of type ${type} here`);
}
