/** Builds tar archives byte by byte, wrong ones too. */
import { concatBytes } from "../../../lib/base/bytes.ts";

const BLOCK_BYTES = 512;
const encoder = new TextEncoder();

export interface Member {
  /** As UTF-8, or raw. */
  readonly name: string | Uint8Array;
  readonly type?: string;
  readonly body?: string | Uint8Array;
  readonly link?: string | Uint8Array;
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly mtime?: number;
  readonly major?: number;
  readonly minor?: number;
  readonly format?: "v7" | "ustar" | "gnu";
  /** Written into the header whatever the body's size is. */
  readonly size?: number;
  /** Raw bytes put over the finished header, before its checksum is made. */
  readonly patch?: readonly { readonly at: number; readonly bytes: Uint8Array }[];
  readonly checksum?: number;
}

export function bytes(text: string | Uint8Array): Uint8Array {
  return typeof text === "string" ? encoder.encode(text) : text;
}

export function octal(value: number, length: number): Uint8Array {
  return encoder.encode(value.toString(8).padStart(length - 1, "0") + "\0");
}

/** GNU's binary numbers, two's complement. */
export function base256(value: bigint, length: number): Uint8Array {
  const field = new Uint8Array(length);
  let rest = value;
  for (let i = length - 1; i >= 0; i--) {
    field[i] = Number(rest & 0xffn);
    rest >>= 8n;
  }
  field[0]! |= 0x80;
  return field;
}

/** A header and the padded body. */
export function member(options: Member): Uint8Array {
  const body = bytes(options.body ?? "");
  const header = new Uint8Array(BLOCK_BYTES);
  const format = options.format ?? "ustar";
  header.set(bytes(options.name).subarray(0, 100), 0);
  header.set(octal(options.mode ?? 0o644, 8), 100);
  header.set(octal(options.uid ?? 0, 8), 108);
  header.set(octal(options.gid ?? 0, 8), 116);
  header.set(octal(options.size ?? body.length, 12), 124);
  header.set(octal(options.mtime ?? 0, 12), 136);
  header.set(encoder.encode(options.type ?? "0"), 156);
  header.set(bytes(options.link ?? "").subarray(0, 100), 157);
  if (format === "ustar") header.set(encoder.encode("ustar\x0000"), 257);
  if (format === "gnu") header.set(encoder.encode("ustar  \0"), 257);
  if (format !== "v7") {
    header.set(octal(options.major ?? 0, 8), 329);
    header.set(octal(options.minor ?? 0, 8), 337);
  }
  for (const { at, bytes } of options.patch ?? []) header.set(bytes, at);
  header.fill(0x20, 148, 156);
  const sum = options.checksum ?? header.reduce((total, byte) => total + byte, 0);
  header.set(encoder.encode(sum.toString(8).padStart(6, "0") + "\0 "), 148);
  return concatBytes([header, padded(body)]);
}

export function padded(body: Uint8Array): Uint8Array {
  const whole = new Uint8Array(Math.ceil(body.length / BLOCK_BYTES) * BLOCK_BYTES);
  whole.set(body);
  return whole;
}

/** One record, its length counted with it. */
export function paxRecord(key: string, value: string | Uint8Array): Uint8Array {
  const rest = concatBytes([encoder.encode(` ${key}=`), bytes(value), encoder.encode("\n")]);
  let length = rest.length + 1;
  while (String(length).length + rest.length !== length) length = String(length).length + rest.length;
  return concatBytes([encoder.encode(String(length)), rest]);
}

/** A pax header for the next member, or with type "g" for all that follow. */
export function pax(records: Readonly<Record<string, string | Uint8Array>>, type = "x"): Uint8Array {
  const body = concatBytes(Object.entries(records).map(([key, value]) => paxRecord(key, value)));
  return member({ name: "PaxHeaders/x", type, body });
}

/** GNU's long name ("L") or long link target ("K") for the next member. */
export function gnuLong(type: "L" | "K", text: string | Uint8Array): Uint8Array {
  const body = concatBytes([bytes(text), new Uint8Array(1)]);
  return member({ name: "././@LongLink", type, body, format: "gnu" });
}

export const END = new Uint8Array(2 * BLOCK_BYTES);

export function archive(...parts: Uint8Array[]): Uint8Array {
  return concatBytes([...parts, END]);
}

export const file = (name: string, body = "", more: Partial<Member> = {}) => member({ name, body, ...more });
export const directory = (name: string, more: Partial<Member> = {}) =>
  member({ name, type: "5", mode: 0o755, ...more });
export const symlink = (name: string, link: string, more: Partial<Member> = {}) =>
  member({ name, type: "2", link, mode: 0o777, ...more });
export const hardLink = (name: string, link: string, more: Partial<Member> = {}) =>
  member({ name, type: "1", link, ...more });

/** The bytes in pieces of a size, each in a buffer that is overwritten afterwards, as readers may do. */
export async function* inPieces(whole: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  const buffer = new Uint8Array(size);
  for (let at = 0; at < whole.length; at += size) {
    const part = whole.subarray(at, at + size);
    buffer.set(part);
    yield buffer.subarray(0, part.length);
    buffer.fill(0xee);
    await Promise.resolve();
  }
}
