import type { Timestamp } from "../../base/tree.ts";
import { corruptTar } from "./errors.ts";

/**
 * A numeric field of a header: octal digits padded with spaces and NULs, or GNU's base-256.
 *
 * @returns a safe integer, maybe negative; 0 for an empty field
 * @throws {BangerError} `corrupt_data` for anything else: nothing wraps or is guessed
 * Source: GNU tar manual, "Basic Tar Format"; Go archive/tar strconv.go for the padding that writers use
 */
export function parseNumber(bytes: Uint8Array, start: number, length: number, name: string): number {
  if ((bytes[start]! & 0x80) !== 0) return parseBase256(bytes.subarray(start, start + length), name);
  let at = start;
  let end = start + length;
  while (at < end && isPadding(bytes[at]!)) at++;
  while (end > at && isPadding(bytes[end - 1]!)) end--;
  let value = 0;
  for (; at < end; at++) {
    // Some writers end the digits with a NUL and leave garbage of an older value behind it.
    if (bytes[at] === 0) break;
    const digit = bytes[at]! - 0x30;
    if (digit < 0 || digit > 7) throw corruptTar(`the ${name} field is no octal number`);
    value = value * 8 + digit;
  }
  return safe(value, name);
}

function isPadding(byte: number): boolean {
  return byte === 0x20 || byte === 0;
}

/** Two's complement, big-endian, the first byte's highest bit being the mark. */
function parseBase256(field: Uint8Array, name: string): number {
  const negative = (field[0]! & 0x40) !== 0;
  let value = negative ? -1n : 0n;
  for (let i = 0; i < field.length; i++) {
    const byte = i === 0 ? (negative ? field[0]! | 0x80 : field[0]! & 0x7f) : field[i]!;
    value = (value << 8n) | BigInt(byte);
  }
  return safe(Number(value), name);
}

function safe(value: number, name: string): number {
  if (!Number.isSafeInteger(value)) throw corruptTar(`the ${name} field is out of range`);
  return value;
}

/** A whole decimal number of a pax record. @throws {BangerError} `corrupt_data` */
export function parseDecimal(text: string, name: string): number {
  if (!/^-?\d{1,20}$/.test(text)) throw corruptTar(`the pax record ${name} is no number`);
  return safe(Number(text), name);
}

/**
 * A time of a pax record: decimal seconds with an optional fraction, of which nine digits count.
 *
 * @throws {BangerError} `corrupt_data`
 */
export function parseTime(text: string, name: string): Timestamp {
  const match = /^(-?)(\d{1,18})(?:\.(\d*))?$/.exec(text);
  if (match === null) throw corruptTar(`the pax record ${name} is no time`);
  const seconds = safe(Number(match[2]), name);
  const nanoseconds = Number((match[3] ?? "").slice(0, 9).padEnd(9, "0"));
  if (match[1] === "") return { seconds, nanoseconds };
  // -1.5 is half a second after second -2.
  if (nanoseconds === 0) return { seconds: seconds === 0 ? 0 : -seconds, nanoseconds };
  return { seconds: -seconds - 1, nanoseconds: 1_000_000_000 - nanoseconds };
}
