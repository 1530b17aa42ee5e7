import { BangerError } from "../base/errors.ts";
import { quote } from "../base/names.ts";
import type { ByteReader } from "./byte_reader.ts";

const BLOCK_BYTES = 512;
/** Of long names and of PAX records: checked before anything is allocated. */
const MAX_EXTENSION_BYTES = 1024 * 1024;

export interface TarEntry {
  /** Without leading `./` or `/`; never with a `..`. Bytes as ISO 8859-1. */
  readonly path: string;
  readonly kind: "file" | "directory" | "symlink" | "other";
  /** Of the content; 0 for what is no file. */
  readonly sizeBytes: number;
  readonly mode: number;
  /** The whole content. @throws {BangerError} `corrupt_data` above `maxBytes` */
  read(maxBytes: number): Promise<Uint8Array<ArrayBuffer>>;
  /** The content in pieces, each valid until the next is asked for. Once, and not beside `read`. */
  stream(): AsyncIterable<Uint8Array>;
}

interface Extensions {
  path?: string;
  sizeBytes?: number;
}

/**
 * The entries of a tar archive in its order, as package builders write them: ustar, GNU long names and PAX.
 * An entry's content can be read until the next entry is asked for; what was not read is skipped.
 *
 * @param what names the archive in errors
 * @throws {BangerError} `corrupt_data`
 * Source: POSIX.1-2008 pax, "ustar Interchange Format"; GNU tar manual, "Basic Tar Format"
 */
export async function* readTar(input: ByteReader, what: string): AsyncGenerator<TarEntry> {
  let extensions: Extensions = {};
  for (;;) {
    const header = await input.readExactlyOrEnd(BLOCK_BYTES);
    if (header === undefined || header.every((byte) => byte === 0)) break;
    verifyChecksum(header, what);
    const type = String.fromCharCode(header[156]!);
    const headerSizeBytes = parseNumber(header.subarray(124, 136), what);
    if (type === "L" || type === "K" || type === "x" || type === "g") {
      const content = await readExtension(input, headerSizeBytes, what);
      if (type === "L") extensions.path = latin1(content).replace(/\0[^]*$/, "");
      if (type === "x") extensions = { ...extensions, ...parsePax(content, what) };
      continue;
    }
    const { entry, finish } = openEntry(input, header, type, extensions, headerSizeBytes, what);
    extensions = {};
    yield entry;
    await finish();
  }
  await input.drain();
}

function openEntry(
  input: ByteReader,
  header: Uint8Array,
  type: string,
  extensions: Extensions,
  headerSizeBytes: number,
  what: string,
): { entry: TarEntry; finish: () => Promise<void> } {
  const kind = type === "0" || type === "\0" || type === "7"
    ? "file"
    : type === "5"
    ? "directory"
    : type === "2"
    ? "symlink"
    : "other";
  const sizeBytes = kind === "file" ? extensions.sizeBytes ?? headerSizeBytes : 0;
  let left = sizeBytes;
  const entry: TarEntry = {
    path: normalize(extensions.path ?? headerPath(header), what),
    kind,
    sizeBytes,
    mode: parseNumber(header.subarray(100, 108), what) & 0o7777,
    async read(maxBytes) {
      if (sizeBytes > maxBytes) {
        throw corrupt(what, `${quote(this.path)} has ${sizeBytes} bytes, more than ${maxBytes}`);
      }
      left = 0;
      return await input.readExactly(sizeBytes);
    },
    async *stream() {
      while (left > 0) {
        const piece = await input.readSome(left);
        if (!piece) throw corrupt(what, `less than the ${sizeBytes} bytes of ${quote(this.path)}`);
        left -= piece.length;
        yield piece;
      }
    },
  };
  const padding = (BLOCK_BYTES - sizeBytes % BLOCK_BYTES) % BLOCK_BYTES;
  return { entry, finish: () => input.skip(left + padding) };
}

async function readExtension(input: ByteReader, sizeBytes: number, what: string): Promise<Uint8Array> {
  if (sizeBytes > MAX_EXTENSION_BYTES) throw corrupt(what, `a long name of ${sizeBytes} bytes`);
  const content = await input.readExactly(sizeBytes);
  await input.skip((BLOCK_BYTES - sizeBytes % BLOCK_BYTES) % BLOCK_BYTES);
  return content;
}

/** "<length> <key>=<value>\n" records. Only what a package can need is taken. */
function parsePax(content: Uint8Array, what: string): Extensions {
  const found: Extensions = {};
  for (let at = 0; at < content.length;) {
    const space = content.indexOf(0x20, at);
    const length = Number(latin1(content.subarray(at, Math.max(space, at))));
    const end = at + length;
    if (
      space < 0 || !Number.isSafeInteger(length) || end <= space || end > content.length ||
      content[end - 1] !== 10
    ) {
      throw corrupt(what, "a malformed PAX record");
    }
    const record = latin1(content.subarray(space + 1, end - 1));
    const equals = record.indexOf("=");
    const key = record.slice(0, equals);
    const value = record.slice(equals + 1);
    if (key === "path") found.path = value;
    if (key === "size") {
      if (!/^\d{1,15}$/.test(value)) throw corrupt(what, "a PAX size that is no number");
      found.sizeBytes = Number(value);
    }
    at = end;
  }
  return found;
}

function headerPath(header: Uint8Array): string {
  const name = field(header.subarray(0, 100));
  const isPosix = latin1(header.subarray(257, 263)) === "ustar\0";
  const prefix = isPosix ? field(header.subarray(345, 500)) : "";
  return prefix === "" ? name : `${prefix}/${name}`;
}

function normalize(path: string, what: string): string {
  const parts = path.split("/").filter((part) => part !== "" && part !== ".");
  if (parts.includes("..") || path.includes("\0")) {
    throw corrupt(what, `the member name ${quote(path)} leads outside`);
  }
  return parts.join("/");
}

function verifyChecksum(header: Uint8Array, what: string): void {
  let sum = 8 * 0x20;
  for (let at = 0; at < BLOCK_BYTES; at++) if (at < 148 || at >= 156) sum += header[at]!;
  if (parseNumber(header.subarray(148, 156), what) !== sum) throw corrupt(what, "a wrong header checksum");
}

/** Octal text, or base 256 where the top bit is set. */
function parseNumber(bytes: Uint8Array, what: string): number {
  if (bytes[0]! & 0x80) {
    let value = bytes[0]! & 0x7f;
    for (const byte of bytes.subarray(1)) value = value * 256 + byte;
    if (!Number.isSafeInteger(value)) throw corrupt(what, "a number out of range");
    return value;
  }
  const text = latin1(bytes).replace(/\0[^]*$/, "").trim();
  if (!/^[0-7]*$/.test(text)) throw corrupt(what, "a number that is not octal");
  return text === "" ? 0 : parseInt(text, 8);
}

function field(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  return latin1(end < 0 ? bytes : bytes.subarray(0, end));
}

/** Header fields and names are short; PAX is at most 1 MiB. */
function latin1(bytes: Uint8Array): string {
  let text = "";
  for (let at = 0; at < bytes.length; at += 8192) {
    text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  }
  return text;
}

function corrupt(what: string, found: string): BangerError {
  return new BangerError("corrupt_data", `Cannot read ${what}: it has ${found}`, "Fetch the file again");
}
