import { BangerError } from "../../lib/base/errors.ts";

const encoder = new TextEncoder();
const FIRST_BYTES = 256;

/** Reads a message's fields. Source: RFC 4251, section 5 */
export class SshReader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at: number;

  constructor(bytes: Uint8Array, at = 0) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#at = at;
  }

  get leftBytes(): number {
    return this.#bytes.length - this.#at;
  }

  u8(): number {
    return this.#bytes[this.#take(1)]!;
  }

  boolean(): boolean {
    return this.u8() !== 0;
  }

  u32(): number {
    return this.#view.getUint32(this.#take(4));
  }

  /** @throws {BangerError} `corrupt_data` beyond 2^53 */
  u64(): number {
    const value = this.#view.getBigUint64(this.#take(8));
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw malformed();
    return Number(value);
  }

  /** @returns a view */
  bytes(count: number): Uint8Array {
    const at = this.#take(count);
    return this.#bytes.subarray(at, at + count);
  }

  /** @returns a view */
  string(): Uint8Array {
    return this.bytes(this.u32());
  }

  text(): string {
    return new TextDecoder().decode(this.string());
  }

  names(): string[] {
    return this.text().split(",").filter(Boolean);
  }

  #take(count: number): number {
    const at = this.#at;
    if (count > this.leftBytes) throw malformed();
    this.#at += count;
    return at;
  }
}

/** Writes a message's fields into a buffer that grows. */
export class SshWriter {
  #bytes: Uint8Array;
  #view: DataView;
  #length = 0;

  constructor(capacityBytes = FIRST_BYTES) {
    this.#bytes = new Uint8Array(capacityBytes);
    this.#view = new DataView(this.#bytes.buffer);
  }

  u8(value: number): this {
    const at = this.#grow(1);
    this.#bytes[at] = value;
    return this;
  }

  boolean(value: boolean): this {
    return this.u8(value ? 1 : 0);
  }

  u32(value: number): this {
    const at = this.#grow(4);
    this.#view.setUint32(at, value);
    return this;
  }

  u64(value: number | bigint): this {
    const at = this.#grow(8);
    this.#view.setBigUint64(at, BigInt(value));
    return this;
  }

  bytes(value: Uint8Array): this {
    const at = this.#grow(value.length);
    this.#bytes.set(value, at);
    return this;
  }

  string(value: Uint8Array | string): this {
    const bytes = typeof value === "string" ? encoder.encode(value) : value;
    return this.u32(bytes.length).bytes(bytes);
  }

  /** @param value unsigned, big-endian */
  mpint(value: Uint8Array): this {
    let start = 0;
    while (start < value.length && value[start] === 0) start++;
    const digits = value.subarray(start);
    const needsZero = digits.length > 0 && digits[0]! >= 0x80;
    this.u32(digits.length + (needsZero ? 1 : 0));
    if (needsZero) this.u8(0);
    return this.bytes(digits);
  }

  /** @returns what was written, a view */
  done(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }

  /** @returns where the new bytes begin */
  #grow(count: number): number {
    const at = this.#length;
    this.#length += count;
    if (this.#length > this.#bytes.length) {
      const larger = new Uint8Array(Math.max(2 * this.#bytes.length, this.#length));
      larger.set(this.#bytes.subarray(0, at));
      this.#bytes = larger;
      this.#view = new DataView(larger.buffer);
    }
    return at;
  }
}

function malformed(): BangerError {
  return new BangerError("corrupt_data", "Cannot read an ssh message: it is cut off or out of range");
}
