/**
 * A tar as a stream, for names of any bytes and length. GNU's format, not pax: what reads it in the guest is
 * busybox, which knows GNU's long names and skips pax headers.
 *
 * Source: GNU tar manual, "Basic Tar Format"; POSIX.1-2017, pax, "ustar Interchange Format"
 */
import type { ByteString } from "../base/tree.ts";

const BLOCK_BYTES = 512;
const NAME_BYTES = 100;
/** What twelve octal digits with their NUL hold no more goes in base 256. */
const MAX_OCTAL = 0o77777777777;

export interface TarEntry {
  readonly kind: "file" | "directory" | "symlink";
  /** Relative; any bytes but NUL. */
  readonly name: ByteString;
  /** 0 to 0o7777 */
  readonly mode: number;
  readonly mtimeSeconds: number;
  /** Of files only: so many bytes follow, then `tarPadding`. */
  readonly sizeBytes?: number;
  /** Of symlinks only. */
  readonly target?: ByteString;
}

/** The header blocks of one entry, root's. */
export function tarHeader(entry: TarEntry): Uint8Array {
  const name = (entry.kind === "directory" ? `${entry.name}/` : entry.name) as ByteString;
  const target = entry.target ?? "" as ByteString;
  const blocks = [
    ...(target.length > NAME_BYTES ? longName("K", target) : []),
    ...(name.length > NAME_BYTES ? longName("L", name) : []),
    header(name, target, entry, { file: "0", directory: "5", symlink: "2" }[entry.kind]),
  ];
  const whole = new Uint8Array(blocks.reduce((sum, block) => sum + block.length, 0));
  blocks.reduce((at, block) => (whole.set(block, at), at + block.length), 0);
  return whole;
}

/** The zeros after a file's content. */
export function tarPadding(sizeBytes: number): Uint8Array {
  return new Uint8Array((BLOCK_BYTES - sizeBytes % BLOCK_BYTES) % BLOCK_BYTES);
}

export function tarEnd(): Uint8Array {
  return new Uint8Array(2 * BLOCK_BYTES);
}

function longName(type: "K" | "L", text: ByteString): Uint8Array[] {
  const sizeBytes = text.length + 1;
  const content = new Uint8Array(sizeBytes + tarPadding(sizeBytes).length);
  putBytes(content, text, 0);
  const name = "././@LongLink" as ByteString;
  return [header(name, "" as ByteString, { mode: 0o644, mtimeSeconds: 0, sizeBytes }, type), content];
}

function header(
  name: ByteString,
  target: ByteString,
  { mode, mtimeSeconds, sizeBytes = 0 }: Pick<TarEntry, "mode" | "mtimeSeconds" | "sizeBytes">,
  type: string,
): Uint8Array {
  const block = new Uint8Array(BLOCK_BYTES);
  putBytes(block, name.slice(0, NAME_BYTES) as ByteString, 0);
  putText(block, `${octal(mode, 7)}\0${octal(0, 7)}\0${octal(0, 7)}\0`, 100);
  putNumber(block, sizeBytes, 124);
  putNumber(block, mtimeSeconds, 136);
  putText(block, `        ${type}`, 148);
  putBytes(block, target.slice(0, NAME_BYTES) as ByteString, 157);
  putText(block, "ustar  \0root\0", 257);
  putText(block, "root\0", 297);
  const checksum = block.reduce((sum, byte) => sum + byte, 0);
  putText(block, `${octal(checksum, 6)}\0 `, 148);
  return block;
}

function octal(value: number, digits: number): string {
  return value.toString(8).padStart(digits, "0");
}

/** Twelve bytes: octal, or base 256 with the first bit set, two's complement. */
function putNumber(block: Uint8Array, value: number, at: number): void {
  if (value >= 0 && value <= MAX_OCTAL) return putText(block, `${octal(value, 11)}\0`, at);
  new DataView(block.buffer).setBigInt64(at + 4, BigInt(value));
  block.fill(value < 0 ? 0xff : 0, at, at + 4);
  block[at]! |= 0x80;
}

function putText(block: Uint8Array, text: string, at: number): void {
  for (let i = 0; i < text.length; i++) block[at + i] = text.charCodeAt(i);
}

function putBytes(block: Uint8Array, bytes: ByteString, at: number): void {
  putText(block, bytes, at);
}
