import { createCipheriv, createDecipheriv, randomFillSync } from "node:crypto";
import { writeFully } from "../../lib/base/bytes.ts";
import { BangerError } from "../../lib/base/errors.ts";
import type { Connection } from "../../lib/base/host.ts";

/** As OpenSSH: of one packet. RFC 4253, section 6.1, asks for 35000 at least. */
const MAX_PACKET_BYTES = 256 * 1024;
const LENGTH_BYTES = 4;
const MIN_PADDING_BYTES = 4;
const PLAIN_BLOCK_BYTES = 8;
const AES_BLOCK_BYTES = 16;
const TAG_BYTES = 16;
const READ_BYTES = 64 * 1024;

/** AES in Galois/counter mode, as OpenSSH agrees on it. Source: RFC 5647, section 7; PROTOCOL, section 1.6 */
export const CIPHERS = {
  "aes128-gcm@openssh.com": { algorithm: "aes-128-gcm", keyBytes: 16 },
  "aes256-gcm@openssh.com": { algorithm: "aes-256-gcm", keyBytes: 32 },
} as const;
export type CipherName = keyof typeof CIPHERS;

/** One direction's key and its nonce, which counts the packets. */
export class PacketKey {
  readonly algorithm: "aes-128-gcm" | "aes-256-gcm";
  readonly key: Uint8Array;
  readonly #nonce: Uint8Array;
  readonly #view: DataView;

  /** @param nonce 12 bytes: 4 that stay, 8 that count */
  constructor(cipher: CipherName, key: Uint8Array, nonce: Uint8Array) {
    this.algorithm = CIPHERS[cipher].algorithm;
    this.key = key;
    this.#nonce = new Uint8Array(nonce);
    this.#view = new DataView(this.#nonce.buffer);
  }

  /** Each is used once. */
  nextNonce(): Uint8Array {
    const nonce = this.#nonce.slice();
    this.#view.setBigUint64(4, BigInt.asUintN(64, this.#view.getBigUint64(4) + 1n));
    return nonce;
  }
}

/** Packets to a connection, in the order of the calls. Source: RFC 4253, section 6 */
export class PacketWriter {
  readonly #connection: Pick<Connection, "write">;
  /** Undefined before the first key exchange. */
  key: PacketKey | undefined;
  #writing: Promise<void> = Promise.resolve();

  constructor(connection: Pick<Connection, "write">) {
    this.#connection = connection;
  }

  /** The payload may be changed once it returns. @returns when it is written: that is the back-pressure */
  send(payload: Uint8Array): Promise<void> {
    return this.sendRaw(this.#encode(payload));
  }

  sendRaw(bytes: Uint8Array): Promise<void> {
    this.#writing = this.#writing.then(() => writeFully((part) => this.#connection.write(part), bytes));
    // Whoever waits learns it; the others learn it from the reading side.
    this.#writing.catch(() => {});
    return this.#writing;
  }

  #encode(payload: Uint8Array): Uint8Array {
    // In Galois/counter mode the length is no part of what is encrypted (RFC 5647, section 7.2).
    const counted = this.key ? 0 : LENGTH_BYTES;
    const block = this.key ? AES_BLOCK_BYTES : PLAIN_BLOCK_BYTES;
    const unpadded = counted + 1 + payload.length;
    const paddingBytes = MIN_PADDING_BYTES + (block - (unpadded + MIN_PADDING_BYTES) % block) % block;
    const packetBytes = 1 + payload.length + paddingBytes;
    const packet = new Uint8Array(LENGTH_BYTES + packetBytes + (this.key ? TAG_BYTES : 0));
    new DataView(packet.buffer).setUint32(0, packetBytes);
    packet[LENGTH_BYTES] = paddingBytes;
    packet.set(payload, LENGTH_BYTES + 1);
    const end = LENGTH_BYTES + packetBytes;
    randomFillSync(packet, end - paddingBytes, paddingBytes);
    if (this.key) {
      const cipher = createCipheriv(this.key.algorithm, this.key.key, this.key.nextNonce());
      cipher.setAAD(packet.subarray(0, LENGTH_BYTES));
      packet.set(cipher.update(packet.subarray(LENGTH_BYTES, end)), LENGTH_BYTES);
      cipher.final();
      packet.set(cipher.getAuthTag(), end);
    }
    return packet;
  }
}

/** Packets from a connection. One reader at a time. */
export class PacketReader {
  readonly #connection: Pick<Connection, "read">;
  key: PacketKey | undefined;
  #buffer = new Uint8Array(READ_BYTES);
  #start = 0;
  #end = 0;

  constructor(connection: Pick<Connection, "read">) {
    this.#connection = connection;
  }

  /**
   * @param maxBytes with its line break
   * @returns undefined where the connection ends before
   */
  async line(maxBytes: number): Promise<string | undefined> {
    for (;;) {
      const newline = this.#buffer.subarray(this.#start, this.#end).indexOf(0x0a);
      if (newline >= maxBytes || (newline < 0 && this.#end - this.#start >= maxBytes)) throw malformed();
      if (newline >= 0) {
        const line = new TextDecoder().decode(this.#buffer.subarray(this.#start, this.#start + newline));
        this.#start += newline + 1;
        return line.replace(/\r$/, "");
      }
      if (!(await this.#fill(this.#end - this.#start + 1))) return undefined;
    }
  }

  /**
   * @returns the payload, valid until the next call; undefined where the connection ends
   * @throws {BangerError} `corrupt_data` for what no peer of ours sends
   */
  async next(): Promise<Uint8Array | undefined> {
    if (!(await this.#fill(LENGTH_BYTES))) return undefined;
    const packetBytes = new DataView(this.#buffer.buffer).getUint32(this.#start);
    const inBlocks = this.key
      ? packetBytes % AES_BLOCK_BYTES
      : (LENGTH_BYTES + packetBytes) % PLAIN_BLOCK_BYTES;
    if (packetBytes > MAX_PACKET_BYTES || packetBytes < PLAIN_BLOCK_BYTES || inBlocks !== 0) {
      throw malformed();
    }
    const wholeBytes = LENGTH_BYTES + packetBytes + (this.key ? TAG_BYTES : 0);
    if (!(await this.#fill(wholeBytes))) return undefined;
    const whole = this.#buffer.subarray(this.#start, this.#start + wholeBytes);
    this.#start += wholeBytes;
    const packet = this.key ? decrypt(this.key, whole) : whole.subarray(LENGTH_BYTES);
    const paddingBytes = packet[0]!;
    if (paddingBytes < MIN_PADDING_BYTES || paddingBytes > packet.length - 2) throw malformed();
    return packet.subarray(1, packet.length - paddingBytes);
  }

  /** @returns false where the connection ends before `count` bytes are there */
  async #fill(count: number): Promise<boolean> {
    if (this.#start + count > this.#buffer.length) {
      const kept = this.#buffer.subarray(this.#start, this.#end);
      const larger = count > this.#buffer.length ? new Uint8Array(2 * count) : this.#buffer;
      if (larger === this.#buffer) larger.copyWithin(0, this.#start, this.#end);
      else larger.set(kept);
      this.#end -= this.#start;
      this.#start = 0;
      this.#buffer = larger;
    }
    while (this.#end - this.#start < count) {
      const read = await this.#connection.read(this.#buffer.subarray(this.#end));
      if (read === null) return false;
      this.#end += read;
    }
    return true;
  }
}

function decrypt(key: PacketKey, whole: Uint8Array): Uint8Array {
  const decipher = createDecipheriv(key.algorithm, key.key, key.nextNonce());
  decipher.setAAD(whole.subarray(0, LENGTH_BYTES));
  decipher.setAuthTag(whole.subarray(whole.length - TAG_BYTES));
  const packet = decipher.update(whole.subarray(LENGTH_BYTES, whole.length - TAG_BYTES));
  try {
    decipher.final();
  } catch (cause) {
    throw new BangerError("corrupt_data", "Cannot read an ssh packet: it was changed on its way", undefined, {
      cause,
    });
  }
  // A Buffer's slices would be views.
  return new Uint8Array(packet.buffer, packet.byteOffset, packet.length);
}

function malformed(): BangerError {
  return new BangerError("corrupt_data", "Cannot read an ssh packet");
}
