import { createHash, type Hash } from "node:crypto";
import type { Brand } from "../../base/brand.ts";
import { BangerError } from "../../base/errors.ts";
import { quote } from "../../base/names.ts";

/** `algorithm:hex`, checked: safe as a part of a path or a URL. */
export type Digest = Brand<string, "Digest">;

/** The registered algorithms, with the length of their lower-case hex. */
const HEX_LENGTHS = { sha256: 64, sha512: 128 } as const;
export type DigestAlgorithm = keyof typeof HEX_LENGTHS;

/**
 * @throws {BangerError} `corrupt_data` for any other algorithm or form: nothing of it may reach a path
 * Source: OCI image-spec, descriptor.md, "Digests"
 */
export function parseDigest(text: unknown): Digest {
  if (typeof text === "string" && isDigest(text)) return text;
  throw new BangerError(
    "corrupt_data",
    `Cannot use ${typeof text === "string" ? quote(text) : "something that is no text"} as a digest`,
    "A digest is sha256: or sha512: and its lower-case hexadecimal digits",
  );
}

export function isDigest(text: string): text is Digest {
  const match = /^(sha256|sha512):([0-9a-f]+)$/.exec(text);
  return match !== null && match[2]!.length === HEX_LENGTHS[match[1] as DigestAlgorithm];
}

export function algorithmOf(digest: Digest): DigestAlgorithm {
  return digest.slice(0, 6) as DigestAlgorithm;
}

export function hexOf(digest: Digest): string {
  return digest.slice(7);
}

/** Hashes what passes by. */
export class Digester {
  readonly #algorithm: DigestAlgorithm;
  readonly #hash: Hash;

  constructor(algorithm: DigestAlgorithm = "sha256") {
    this.#algorithm = algorithm;
    this.#hash = createHash(algorithm);
  }

  update(bytes: Uint8Array): void {
    this.#hash.update(bytes);
  }

  /** Once, at the end. */
  digest(): Digest {
    return `${this.#algorithm}:${this.#hash.digest("hex")}` as Digest;
  }
}

export function digestOf(bytes: Uint8Array, algorithm: DigestAlgorithm = "sha256"): Digest {
  const digester = new Digester(algorithm);
  digester.update(bytes);
  return digester.digest();
}
