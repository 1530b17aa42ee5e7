import { Buffer } from "node:buffer";
import { createHash, createPublicKey, diffieHellman, generateKeyPairSync, randomBytes } from "node:crypto";
import { BangerError } from "../../lib/base/errors.ts";
import { ED25519, type HostKey } from "./keys.ts";
import { MESSAGE } from "./messages.ts";
import { type CipherName, CIPHERS, PacketKey } from "./packets.ts";
import { SshReader, SshWriter } from "./wire.ts";

const KEX = ["curve25519-sha256", "curve25519-sha256@libssh.org"];
/** Packets before the first keys cannot be put in or taken out. Source: openssh-portable PROTOCOL, section 1.9 */
const STRICT_CLIENT = "kex-strict-c-v00@openssh.com";
const STRICT_SERVER = "kex-strict-s-v00@openssh.com";
/** What an encrypting cipher of that kind brings along. */
const MACS = ["hmac-sha2-256-etm@openssh.com", "hmac-sha2-256"];
const COMPRESSION = ["none"];
const POINT_BYTES = 32;
/** DER in front of a raw point. Source: RFC 8410, section 4 */
const X25519_SPKI_PREFIX = Buffer.from("302a300506032b656e032100", "hex");
const NONCE_BYTES = 12;

/** What both sides agreed on. */
export interface Agreement {
  readonly cipherIn: CipherName;
  readonly cipherOut: CipherName;
  readonly isStrict: boolean;
  /** The client has sent its first message for another algorithm than was agreed on: it does not count. */
  readonly isGuessWrong: boolean;
}

/** @returns our offer's payload. Source: RFC 4253, section 7.1 */
export function encodeOffer(): Uint8Array {
  const ciphers = Object.keys(CIPHERS).join(",");
  const writer = new SshWriter().u8(MESSAGE.kexInit).bytes(randomBytes(16));
  writer.string([...KEX, STRICT_SERVER].join(",")).string(ED25519).string(ciphers).string(ciphers);
  writer.string(MACS.join(",")).string(MACS.join(",")).string(COMPRESSION.join(",")).string(
    COMPRESSION.join(","),
  );
  return writer.string("").string("").boolean(false).u32(0).done();
}

/**
 * @param payload the client's offer: the first of its algorithms that we have, too, is taken
 * @throws {BangerError} `corrupt_data` where there is none
 */
export function agree(payload: Uint8Array): Agreement {
  const reader = new SshReader(payload, 1 + 16);
  const [kex, hostKeys, ciphersIn, ciphersOut, _macIn, _macOut, compressIn, compressOut] = Array.from(
    { length: 8 },
    () => reader.names(),
  ) as [string[], string[], string[], string[], string[], string[], string[], string[]];
  reader.string();
  reader.string();
  const isFirstFollowing = reader.boolean();
  const chosenKex = pick("key exchange", kex, KEX);
  pick("host key", hostKeys, [ED25519]);
  pick("compression", compressIn, COMPRESSION);
  pick("compression", compressOut, COMPRESSION);
  return {
    cipherIn: pick("cipher", ciphersIn, Object.keys(CIPHERS)) as CipherName,
    cipherOut: pick("cipher", ciphersOut, Object.keys(CIPHERS)) as CipherName,
    isStrict: kex.includes(STRICT_CLIENT),
    isGuessWrong: isFirstFollowing && (kex[0] !== chosenKex || hostKeys[0] !== ED25519),
  };
}

function pick(what: string, theirs: readonly string[], ours: readonly string[]): string {
  const found = theirs.find((name) => ours.includes(name));
  if (found !== undefined) return found;
  throw new BangerError(
    "corrupt_data",
    `Cannot agree with the ssh client on a ${what}: the machine has ${ours.join(", ")}`,
  );
}

/** What a key exchange is about. */
export interface Greeting {
  readonly clientVersion: string;
  readonly serverVersion: string;
  readonly clientOffer: Uint8Array;
  readonly serverOffer: Uint8Array;
}

export interface Exchanged {
  /** The answer's payload. */
  readonly reply: Uint8Array;
  /** Of the first exchange, it becomes the session's id. */
  readonly hash: Uint8Array;
  /** @returns keys and nonces of both directions */
  keys(sessionId: Uint8Array, agreement: Agreement): { in: PacketKey; out: PacketKey };
}

/**
 * Answers the client's point. Source: RFC 8731, section 3; RFC 5656, section 4; RFC 4253, section 7.2
 *
 * @throws {BangerError} `corrupt_data` for a point that is none, or would give a known secret
 */
export function exchange(clientInit: Uint8Array, greeting: Greeting, hostKey: HostKey): Exchanged {
  const clientPoint = new SshReader(clientInit, 1).string();
  if (clientPoint.length !== POINT_BYTES) throw badPoint();
  const own = generateKeyPairSync("x25519");
  const ownPoint = own.publicKey.export({ format: "der", type: "spki" }).subarray(-POINT_BYTES);
  const secret = sharedSecret(own.privateKey, clientPoint);
  const hash = createHash("sha256").update(
    new SshWriter(4096).string(greeting.clientVersion).string(greeting.serverVersion)
      .string(greeting.clientOffer).string(greeting.serverOffer)
      .string(hostKey.publicBlob).string(clientPoint).string(ownPoint).mpint(secret).done(),
  ).digest();
  const reply = new SshWriter().u8(MESSAGE.ecdhReply).string(hostKey.publicBlob).string(ownPoint)
    .string(hostKey.sign(hash)).done();
  const derive = (letter: string, sessionId: Uint8Array, bytes: number) =>
    createHash("sha256").update(
      new SshWriter().mpint(secret).bytes(hash).bytes(new TextEncoder().encode(letter)).bytes(sessionId)
        .done(),
    ).digest().subarray(0, bytes);
  return {
    reply,
    hash,
    keys: (sessionId, { cipherIn, cipherOut }) => ({
      in: new PacketKey(
        cipherIn,
        derive("C", sessionId, CIPHERS[cipherIn].keyBytes),
        derive("A", sessionId, NONCE_BYTES),
      ),
      out: new PacketKey(
        cipherOut,
        derive("D", sessionId, CIPHERS[cipherOut].keyBytes),
        derive("B", sessionId, NONCE_BYTES),
      ),
    }),
  };
}

function sharedSecret(
  privateKey: Parameters<typeof diffieHellman>[0]["privateKey"],
  point: Uint8Array,
): Uint8Array {
  let secret: Uint8Array;
  try {
    const publicKey = createPublicKey({
      key: Buffer.concat([X25519_SPKI_PREFIX, point]),
      format: "der",
      type: "spki",
    });
    secret = diffieHellman({ privateKey, publicKey });
  } catch (cause) {
    throw badPoint(cause);
  }
  if (secret.every((byte) => byte === 0)) throw badPoint();
  return secret;
}

function badPoint(cause?: unknown): BangerError {
  return new BangerError(
    "corrupt_data",
    "Cannot exchange keys with the ssh client: its key is none",
    undefined,
    {
      cause,
    },
  );
}
