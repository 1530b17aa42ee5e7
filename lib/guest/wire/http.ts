/**
 * HTTP/1.1 as the agent and its client speak it: one request on a connection, bodies chunked or with a
 * length, no trailers, no upgrades. Both sides are written against a hostile peer: every part is capped,
 * and what could be read in two ways is refused.
 *
 * Source: RFC 9112 (messages), RFC 9110 section 5.6.2 (tokens)
 */
import { BangerError } from "../../base/errors.ts";
import type { ByteReader } from "./byte_reader.ts";

const MAX_LINE_BYTES = 8 * 1024;
const MAX_FIELDS = 64;
/** "ffffffff" and no extension: no chunk of ours is larger. */
const MAX_CHUNK_LINE_BYTES = 256;
const MAX_CHUNK_BYTES = 0xffff_ffff;

const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
// deno-lint-ignore no-control-regex -- control characters are what it refuses
const FORBIDDEN_IN_VALUE = /[\u0000-\u0008\u000a-\u001f\u007f]/;
const REQUEST_LINE = /^([A-Z]{1,16}) (\/[\u0021-\u007e]{0,4095}) HTTP\/1\.[01]$/;
const STATUS_LINE = /^HTTP\/1\.[01] ([1-5]\d\d)(?: |$)/;

/** Names in lower case; a name that comes twice is joined by ", ". */
export type Fields = ReadonlyMap<string, string>;

export interface RequestHead {
  readonly method: string;
  /** Path and query, as sent. */
  readonly target: string;
  readonly fields: Fields;
}

export interface ResponseHead {
  readonly status: number;
  readonly fields: Fields;
}

/** @returns null where the connection ends before a request begins */
export async function readRequestHead(reader: ByteReader): Promise<RequestHead | null> {
  const line = await reader.readLine(MAX_LINE_BYTES);
  if (line === null) return null;
  const match = REQUEST_LINE.exec(line);
  if (!match) throw malformed("a request: its first line is no HTTP/1.1");
  return { method: match[1]!, target: match[2]!, fields: await readFields(reader) };
}

/** @throws {BangerError} `connection_failed` where the connection ends before */
export async function readResponseHead(reader: ByteReader): Promise<ResponseHead> {
  const line = await reader.readLine(MAX_LINE_BYTES);
  if (line === null) throw cutOff("an answer");
  const match = STATUS_LINE.exec(line);
  if (!match) throw malformed("an answer: its first line is no HTTP/1.1");
  return { status: Number(match[1]), fields: await readFields(reader) };
}

async function readFields(reader: ByteReader): Promise<Fields> {
  const fields = new Map<string, string>();
  for (let count = 0; count <= MAX_FIELDS; count++) {
    const line = await reader.readLine(MAX_LINE_BYTES);
    if (line === null) throw cutOff("a message's head");
    if (line === "") return fields;
    const colon = line.indexOf(":");
    const name = line.slice(0, Math.max(colon, 0)).toLowerCase();
    const value = line.slice(colon + 1).trim();
    if (!TOKEN.test(name) || FORBIDDEN_IN_VALUE.test(value)) throw malformed("a message's head");
    const earlier = fields.get(name);
    fields.set(name, earlier === undefined ? value : `${earlier}, ${value}`);
  }
  throw malformed(`a message's head: it has more than ${MAX_FIELDS} fields`);
}

/** A message's body as it comes. */
export interface Body {
  /** @returns a view that the next read overwrites; null at the body's own end */
  read(): Promise<Uint8Array | null>;
  /** As `read`, into the caller's own. @returns bytes read, at least 1; null at the body's own end */
  readInto(into: Uint8Array): Promise<number | null>;
}

/**
 * @throws {BangerError} `corrupt_data` where its length is told in a way that could be read in two;
 * reading throws `connection_failed` where the connection ends before the body does
 */
export function bodyOf(fields: Fields, reader: ByteReader): Body {
  const encoding = fields.get("transfer-encoding");
  const length = fields.get("content-length");
  if (encoding !== undefined) {
    if (encoding.toLowerCase() !== "chunked" || length !== undefined) throw malformed("a body's encoding");
    return new ChunkedBody(reader);
  }
  if (length === undefined) return new SizedBody(reader, 0);
  if (!/^\d{1,15}$/.test(length)) throw malformed("a body's length");
  return new SizedBody(reader, Number(length));
}

class SizedBody implements Body {
  readonly #reader: ByteReader;
  #left: number;

  constructor(reader: ByteReader, sizeBytes: number) {
    this.#reader = reader;
    this.#left = sizeBytes;
  }

  async read(): Promise<Uint8Array | null> {
    if (this.#left === 0) return null;
    const view = await this.#reader.readSome(this.#left);
    if (view === null) throw cutOff("a body");
    this.#left -= view.length;
    return view;
  }

  async readInto(into: Uint8Array): Promise<number | null> {
    if (this.#left === 0) return null;
    const count = await this.#reader.readInto(into.subarray(0, this.#left));
    if (count === null) throw cutOff("a body");
    this.#left -= count;
    return count;
  }
}

class ChunkedBody implements Body {
  readonly #reader: ByteReader;
  /** Of the current chunk; -1 before the first. */
  #left = -1;
  #ended = false;

  constructor(reader: ByteReader) {
    this.#reader = reader;
  }

  async read(): Promise<Uint8Array | null> {
    if (this.#left <= 0 && !(await this.#nextChunk())) return null;
    const view = await this.#reader.readSome(this.#left);
    if (view === null) throw cutOff("a body");
    this.#left -= view.length;
    return view;
  }

  async readInto(into: Uint8Array): Promise<number | null> {
    if (this.#left <= 0 && !(await this.#nextChunk())) return null;
    const count = await this.#reader.readInto(into.subarray(0, this.#left));
    if (count === null) throw cutOff("a body");
    this.#left -= count;
    return count;
  }

  /** @returns false at the body's end */
  async #nextChunk(): Promise<boolean> {
    if (this.#ended) return false;
    if (this.#left === 0) await this.#emptyLine();
    this.#left = await this.#chunkSize();
    if (this.#left > 0) return true;
    await this.#emptyLine();
    this.#ended = true;
    return false;
  }

  async #chunkSize(): Promise<number> {
    const line = await this.#reader.readLine(MAX_CHUNK_LINE_BYTES);
    if (line === null) throw cutOff("a body");
    const size = /^[0-9a-fA-F]{1,8}$/.test(line) ? parseInt(line, 16) : NaN;
    if (!(size <= MAX_CHUNK_BYTES)) throw malformed("a chunk's size");
    return size;
  }

  async #emptyLine(): Promise<void> {
    const line = await this.#reader.readLine(MAX_CHUNK_LINE_BYTES);
    if (line === null) throw cutOff("a body");
    if (line !== "") throw malformed("a chunk's end");
  }
}

/** @throws {BangerError} `corrupt_data` where the body is larger */
export async function readWhole(body: Body, maxBytes: number): Promise<Uint8Array> {
  const whole = new Uint8Array(maxBytes);
  let length = 0;
  for (let part = await body.read(); part !== null; part = await body.read()) {
    if (length + part.length > maxBytes) throw malformed(`a body: it is longer than ${maxBytes} bytes`);
    whole.set(part, length);
    length += part.length;
  }
  return whole.subarray(0, length);
}

const encoder = new TextEncoder();
const CRLF = encoder.encode("\r\n");

/** Ends a chunked body. */
export const LAST_CHUNK = encoder.encode("0\r\n\r\n");

/** @returns one chunk with all `parts`; nothing for no bytes, since an empty chunk would end the body */
export function encodeChunk(...parts: readonly Uint8Array[]): Uint8Array {
  let length = 0;
  for (const part of parts) length += part.length;
  if (length === 0) return new Uint8Array(0);
  const size = encoder.encode(`${length.toString(16)}\r\n`);
  const chunk = new Uint8Array(size.length + length + CRLF.length);
  chunk.set(size);
  let at = size.length;
  for (const part of parts) {
    chunk.set(part, at);
    at += part.length;
  }
  chunk.set(CRLF, at);
  return chunk;
}

/** "ffffffff\r\n" */
const CHUNK_HEAD_BYTES = 10;

/** A buffer whose content becomes a chunk where it lies: what is read into `space` is never copied. */
export class ChunkBuffer {
  /** To be filled from its start. */
  readonly space: Uint8Array;
  readonly #buffer: Uint8Array;
  readonly #prefixBytes: number;

  /** @param prefixBytes of a header that goes in front of the content, inside the chunk */
  constructor(spaceBytes: number, prefixBytes = 0) {
    this.#prefixBytes = prefixBytes;
    this.#buffer = new Uint8Array(CHUNK_HEAD_BYTES + prefixBytes + spaceBytes + CRLF.length);
    this.space = this.#buffer.subarray(CHUNK_HEAD_BYTES + prefixBytes, this.#buffer.length - CRLF.length);
  }

  /**
   * @param count at least 1 with the prefix; bytes of `space` that are filled
   * @param putPrefix writes the header
   * @returns the chunk, valid until `space` is filled again
   */
  chunk(count: number, putPrefix: (into: Uint8Array, at: number) => void = () => {}): Uint8Array {
    const size = this.#prefixBytes + count;
    const head = encoder.encode(`${size.toString(16)}\r\n`);
    const start = CHUNK_HEAD_BYTES - head.length;
    this.#buffer.set(head, start);
    putPrefix(this.#buffer, CHUNK_HEAD_BYTES);
    this.#buffer.set(CRLF, CHUNK_HEAD_BYTES + size);
    return this.#buffer.subarray(start, CHUNK_HEAD_BYTES + size + CRLF.length);
  }
}

/** @param fields names and values of ours, never outside text */
export function encodeRequestHead(
  method: string,
  target: string,
  fields: Readonly<Record<string, string>>,
): Uint8Array {
  return encodeHead(`${method} ${target} HTTP/1.1`, { host: "banger", ...fields });
}

/** @param fields names and values of ours, never outside text */
export function encodeResponseHead(status: number, fields: Readonly<Record<string, string>>): Uint8Array {
  return encodeHead(`HTTP/1.1 ${status} ${REASONS[status] ?? "Status"}`, { ...fields, connection: "close" });
}

const REASONS: Readonly<Record<number, string>> = {
  200: "OK",
  202: "Accepted",
  204: "No Content",
  400: "Bad Request",
  404: "Not Found",
  405: "Method Not Allowed",
  500: "Internal Server Error",
  502: "Bad Gateway",
};

function encodeHead(firstLine: string, fields: Readonly<Record<string, string>>): Uint8Array {
  let text = `${firstLine}\r\n`;
  for (const [name, value] of Object.entries(fields)) text += `${name}: ${value}\r\n`;
  return encoder.encode(`${text}\r\n`);
}

function malformed(what: string): BangerError {
  return new BangerError("corrupt_data", `Cannot read ${what}`);
}

function cutOff(what: string): BangerError {
  return new BangerError("connection_failed", `Cannot read ${what}: the connection ended before`);
}
