/**
 * ed25519 keys in OpenSSH's own formats: banger's key for its guests, and one host key for each VM.
 * `node:crypto` makes the key; only its wrapping is written here, so nothing has to be loaded or installed.
 */
import { Buffer } from "node:buffer";
import { generateKeyPairSync, randomBytes } from "node:crypto";
import { concatBytes } from "../../base/bytes.ts";

export interface SshKeyPair {
  /** `-----BEGIN OPENSSH PRIVATE KEY-----…`, without a passphrase, ending in a line break. */
  readonly privateKey: string;
  /** `ssh-ed25519 AAAA… comment`, one line without a break. */
  readonly publicKey: string;
}

const ALGORITHM = "ssh-ed25519";
const PRIVATE_KEY_LINE_LENGTH = 70;
/** The block size that padding goes to where nothing is encrypted. */
const UNENCRYPTED_BLOCK_BYTES = 8;

/**
 * @param comment printable, without line breaks; shown by ssh-keygen and ssh-add
 * Source: openssh-portable PROTOCOL.key; RFC 8709 section 4 (public key); RFC 8410 section 7 (PKCS #8)
 */
export function generateSshKeyPair(comment: string): SshKeyPair {
  const { privateKey, publicKey } = generateKeyPairSync("ed25519");
  // Both encodings are of fixed length and end in the 32 bytes themselves.
  const seed = privateKey.export({ format: "der", type: "pkcs8" }).subarray(-32);
  const point = publicKey.export({ format: "der", type: "spki" }).subarray(-32);
  const publicBlob = concatBytes([field(ALGORITHM), field(point)]);
  const check = randomBytes(4);
  const secrets = concatBytes([
    check,
    check,
    publicBlob,
    field(concatBytes([seed, point])),
    field(comment),
  ]);
  const padding = new Uint8Array(
    (UNENCRYPTED_BLOCK_BYTES - secrets.length % UNENCRYPTED_BLOCK_BYTES) % UNENCRYPTED_BLOCK_BYTES,
  ).map((_, index) => index + 1);
  const file = concatBytes([
    new TextEncoder().encode("openssh-key-v1\0"),
    field("none"),
    field("none"),
    field(""),
    uint32(1),
    field(publicBlob),
    field(concatBytes([secrets, padding])),
  ]);
  const lines = base64(file).match(new RegExp(`.{1,${PRIVATE_KEY_LINE_LENGTH}}`, "g")) ?? [];
  return {
    privateKey: ["-----BEGIN OPENSSH PRIVATE KEY-----", ...lines, "-----END OPENSSH PRIVATE KEY-----", ""]
      .join("\n"),
    publicKey: `${ALGORITHM} ${base64(publicBlob)} ${comment}`,
  };
}

/** RFC 4251 section 5, "string". */
function field(value: string | Uint8Array): Uint8Array {
  const bytes = typeof value === "string" ? new TextEncoder().encode(value) : value;
  return concatBytes([uint32(bytes.length), bytes]);
}

function uint32(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value);
  return bytes;
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("base64");
}
