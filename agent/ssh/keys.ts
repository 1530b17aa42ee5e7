import { Buffer } from "node:buffer";
import { createPrivateKey, createPublicKey, type KeyObject, sign, verify } from "node:crypto";
import { BangerError } from "../../lib/base/errors.ts";
import { SshReader, SshWriter } from "./wire.ts";

export const ED25519 = "ssh-ed25519";
const KEY_BYTES = 32;
/** DER in front of a raw key. Source: RFC 8410, sections 4 and 7 */
const PKCS8_PREFIX = Buffer.from("302e020100300506032b657004220420", "hex");
const ED25519_SPKI_PREFIX = Buffer.from("302a300506032b6570032100", "hex");
const MAGIC = "openssh-key-v1\0";

/** A VM's own key. */
export interface HostKey {
  /** As the protocol names it: algorithm and key. */
  readonly publicBlob: Uint8Array;
  /** @returns as the protocol sends it: algorithm and signature */
  sign(data: Uint8Array): Uint8Array;
}

/**
 * @param text an unencrypted ed25519 key in OpenSSH's own format
 * @throws {BangerError} `corrupt_data` for anything else
 * Source: openssh-portable PROTOCOL.key
 */
export function parseHostKey(text: string): HostKey {
  const body = /-----BEGIN OPENSSH PRIVATE KEY-----([^-]+)-----END/.exec(text)?.[1];
  const bytes = Buffer.from(body ?? "", "base64");
  if (bytes.subarray(0, MAGIC.length).toString("latin1") !== MAGIC) throw wrongHostKey();
  const reader = new SshReader(bytes, MAGIC.length);
  const [cipher] = [reader.text(), reader.text(), reader.string()];
  if (cipher !== "none" || reader.u32() !== 1) throw wrongHostKey();
  const publicBlob = reader.string().slice();
  const secrets = new SshReader(reader.string());
  const isWhole = secrets.u32() === secrets.u32();
  if (!isWhole || secrets.text() !== ED25519) throw wrongHostKey();
  secrets.string();
  const seed = secrets.string().subarray(0, KEY_BYTES);
  if (seed.length !== KEY_BYTES) throw wrongHostKey();
  const key = createPrivateKey({ key: Buffer.concat([PKCS8_PREFIX, seed]), format: "der", type: "pkcs8" });
  return {
    publicBlob,
    sign: (data) => new SshWriter().string(ED25519).string(sign(null, data, key)).done(),
  };
}

/** @param text lines of an authorized_keys file; keys of other kinds than ed25519 are left out */
export function parseAuthorizedKeys(text: string): Uint8Array[] {
  return text.split("\n").flatMap((line) => {
    const blob = /^ssh-ed25519 ([A-Za-z0-9+/=]+)/.exec(line.trim())?.[1];
    return blob === undefined ? [] : [new Uint8Array(Buffer.from(blob, "base64"))];
  });
}

/** @param publicBlob of an ed25519 key; @param signature algorithm and signature. @returns false for whatever is wrong */
export function isSignedBy(publicBlob: Uint8Array, signature: Uint8Array, data: Uint8Array): boolean {
  const key = parsePublicBlob(publicBlob);
  const reader = new SshReader(signature);
  return key !== undefined && reader.text() === ED25519 && verify(null, data, key, reader.string());
}

function parsePublicBlob(blob: Uint8Array): KeyObject | undefined {
  const reader = new SshReader(blob);
  if (reader.text() !== ED25519) return undefined;
  const point = reader.string();
  if (point.length !== KEY_BYTES) return undefined;
  return createPublicKey({ key: Buffer.concat([ED25519_SPKI_PREFIX, point]), format: "der", type: "spki" });
}

function wrongHostKey(): BangerError {
  return new BangerError(
    "corrupt_data",
    "Cannot use the machine's ssh host key: it is no ed25519 key of OpenSSH's",
  );
}
