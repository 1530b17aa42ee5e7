/**
 * DNS messages, as far as banger speaks them. Whatever comes in is untrusted: lengths, pointers and counts
 * are checked before they are used, and reading takes time linear in the message.
 *
 * Source: RFC 1035 sections 3.1, 4.1; RFC 6891 (EDNS); RFC 8482 (ANY)
 */

export const TYPE = {
  A: 1,
  NS: 2,
  CNAME: 5,
  SOA: 6,
  PTR: 12,
  AAAA: 28,
  OPT: 41,
  IXFR: 251,
  AXFR: 252,
  ANY: 255,
} as const;
export const CLASS = { IN: 1, ANY: 255 } as const;
export const RCODE = {
  ok: 0,
  formatError: 1,
  serverFailure: 2,
  nxDomain: 3,
  notImplemented: 4,
  refused: 5,
} as const;
export type Rcode = (typeof RCODE)[keyof typeof RCODE];

const HEADER_BYTES = 12;
const MAX_NAME_BYTES = 255;
const MAX_LABEL_BYTES = 63;
/** Two top bits of a length byte: a pointer. */
const POINTER = 0xc0;
/** More records than any answer we read has; what claims more is not read to the end. */
const MAX_RECORDS = 256;

export interface Question {
  /** In lower case, without the root's dot; bytes that are no printable ASCII are `\DDD`. */
  readonly name: string;
  readonly type: number;
  readonly class: number;
}

export interface Query {
  readonly id: number;
  readonly opcode: number;
  readonly recursionDesired: boolean;
  readonly question: Question;
  /** The question's own bytes, to be given back as they came. */
  readonly questionBytes: Uint8Array;
  readonly edns?: { readonly version: number };
}

export interface ResourceRecord {
  readonly name: string;
  readonly type: number;
  readonly class: number;
  readonly ttlSeconds: number;
  /** A view of the message. */
  readonly data: Uint8Array;
}

/** What a query is worth: an answer, a refusal with its code, or silence. */
export type ParsedQuery =
  | { readonly kind: "query"; readonly query: Query }
  | { readonly kind: "failure"; readonly id: number; readonly opcode: number; readonly rcode: Rcode }
  | { readonly kind: "drop" };

/** Never throws. */
export function parseQuery(message: Uint8Array): ParsedQuery {
  if (message.length < HEADER_BYTES) return { kind: "drop" };
  const view = viewOf(message);
  const id = view.getUint16(0);
  const flags = view.getUint16(2);
  // An answer is never answered: two servers could talk for ever.
  if (flags & 0x8000) return { kind: "drop" };
  const opcode = (flags >> 11) & 0xf;
  const failure = (rcode: Rcode): ParsedQuery => ({ kind: "failure", id, opcode, rcode });
  if (opcode !== 0) return failure(RCODE.notImplemented);
  const additionalCount = view.getUint16(10);
  if (view.getUint16(4) !== 1 || view.getUint16(6) !== 0 || view.getUint16(8) !== 0 || additionalCount > 16) {
    return failure(RCODE.formatError);
  }
  try {
    const reader = new MessageReader(message);
    const question = reader.question();
    const questionBytes = message.slice(HEADER_BYTES, reader.offset);
    let edns: Query["edns"];
    for (let index = 0; index < additionalCount; index++) {
      const record = reader.record();
      if (record.type !== TYPE.OPT) continue;
      if (edns || record.name !== "") return failure(RCODE.formatError);
      edns = { version: (record.ttlSeconds >>> 16) & 0xff };
    }
    const recursionDesired = (flags & 0x0100) !== 0;
    return {
      kind: "query",
      query: { id, opcode, recursionDesired, question, questionBytes, ...(edns ? { edns } : {}) },
    };
  } catch (thrown) {
    if (thrown instanceof MalformedMessage) return failure(RCODE.formatError);
    throw thrown;
  }
}

export interface ParsedAnswer {
  readonly id: number;
  readonly rcode: number;
  readonly truncated: boolean;
  readonly question: Question;
  readonly answers: readonly ResourceRecord[];
}

/** @returns undefined for what is no well-formed answer to one question */
export function parseAnswer(message: Uint8Array): ParsedAnswer | undefined {
  if (message.length < HEADER_BYTES) return undefined;
  const view = viewOf(message);
  const flags = view.getUint16(2);
  if (!(flags & 0x8000) || view.getUint16(4) !== 1) return undefined;
  try {
    const reader = new MessageReader(message);
    const question = reader.question();
    const answers: ResourceRecord[] = [];
    const count = Math.min(view.getUint16(6), MAX_RECORDS);
    for (let index = 0; index < count; index++) answers.push(reader.record());
    return {
      id: view.getUint16(0),
      rcode: flags & 0xf,
      truncated: (flags & 0x0200) !== 0,
      question,
      answers,
    };
  } catch (thrown) {
    if (thrown instanceof MalformedMessage) return undefined;
    throw thrown;
  }
}

class MalformedMessage extends Error {
  override readonly name = "MalformedMessage";
}

class MessageReader {
  readonly #message: Uint8Array;
  readonly #view: DataView;
  offset = HEADER_BYTES;

  constructor(message: Uint8Array) {
    this.#message = message;
    this.#view = viewOf(message);
  }

  question(): Question {
    const name = this.#name();
    return { name, type: this.#uint16(), class: this.#uint16() };
  }

  record(): ResourceRecord {
    const name = this.#name();
    const type = this.#uint16();
    const recordClass = this.#uint16();
    this.#need(6);
    const ttlSeconds = this.#view.getUint32(this.offset);
    const length = this.#view.getUint16(this.offset + 4);
    this.offset += 6;
    this.#need(length);
    const data = this.#message.subarray(this.offset, this.offset + length);
    this.offset += length;
    return { name, type, class: recordClass, ttlSeconds, data };
  }

  /** Pointers lead backwards only, each further than the last, so there is no loop. */
  #name(): string {
    const labels: string[] = [];
    let at = this.offset;
    let limit = at;
    let isFollowing = false;
    for (let sizeBytes = 1;;) {
      if (at >= this.#message.length) throw new MalformedMessage();
      const length = this.#message[at]!;
      if ((length & POINTER) === POINTER) {
        if (at + 1 >= this.#message.length) throw new MalformedMessage();
        const target = ((length & ~POINTER) << 8) | this.#message[at + 1]!;
        if (target >= limit || target < HEADER_BYTES) throw new MalformedMessage();
        if (!isFollowing) this.offset = at + 2;
        isFollowing = true;
        at = target;
        limit = target;
        continue;
      }
      if (length > MAX_LABEL_BYTES) throw new MalformedMessage();
      at++;
      if (length === 0) {
        if (!isFollowing) this.offset = at;
        return labels.join(".");
      }
      sizeBytes += length + 1;
      if (sizeBytes > MAX_NAME_BYTES || at + length > this.#message.length) throw new MalformedMessage();
      labels.push(labelText(this.#message.subarray(at, at + length)));
      at += length;
    }
  }

  #uint16(): number {
    this.#need(2);
    const value = this.#view.getUint16(this.offset);
    this.offset += 2;
    return value;
  }

  #need(count: number): void {
    if (this.offset + count > this.#message.length) throw new MalformedMessage();
  }
}

/** As in master files (RFC 1035, section 5.1), so that a dot inside a label is no border of labels. */
function labelText(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) {
    const isPlain = byte > 0x20 && byte < 0x7f && byte !== 0x2e && byte !== 0x5c;
    text += isPlain ? String.fromCharCode(byte) : `\\${String(byte).padStart(3, "0")}`;
  }
  return text.toLowerCase();
}

export interface AnswerRecord {
  readonly name: string;
  readonly type: number;
  readonly ttlSeconds: number;
  readonly data: Uint8Array;
}

export interface AnswerParts {
  readonly rcode: Rcode;
  readonly authoritative: boolean;
  readonly answers?: readonly AnswerRecord[];
  readonly authority?: readonly AnswerRecord[];
  readonly recursionAvailable?: boolean;
  /** RFC 8914: why, for people. */
  readonly extendedError?: { readonly code: number; readonly text: string };
}

/** What we are ready to take over UDP (RFC 9715 says 1232 is safe). */
const UDP_BYTES = 1232;

export function encodeAnswer(query: Query, parts: AnswerParts): Uint8Array<ArrayBuffer> {
  const { answers = [], authority = [] } = parts;
  const writer = new MessageWriter();
  const flags = 0x8000 | (parts.authoritative ? 0x0400 : 0) | (query.recursionDesired ? 0x0100 : 0) |
    (parts.recursionAvailable ? 0x0080 : 0);
  const isBadVersion = query.edns !== undefined && query.edns.version !== 0;
  const rcode = isBadVersion ? 0 : parts.rcode;
  writer.uint16(query.id, flags | rcode, 1, isBadVersion ? 0 : answers.length);
  writer.uint16(isBadVersion ? 0 : authority.length, query.edns ? 1 : 0);
  writer.bytes(query.questionBytes);
  if (!isBadVersion) {
    for (const record of [...answers, ...authority]) {
      // The question's name stands right behind the header.
      if (record.name === query.question.name) writer.uint16(0xc000 | HEADER_BYTES);
      else writer.bytes(encodeName(record.name));
      writer.uint16(
        record.type,
        CLASS.IN,
        record.ttlSeconds >>> 16,
        record.ttlSeconds & 0xffff,
        record.data.length,
      );
      writer.bytes(record.data);
    }
  }
  if (query.edns) writeOpt(writer, isBadVersion, parts.extendedError);
  return writer.take();
}

function writeOpt(writer: MessageWriter, isBadVersion: boolean, error: AnswerParts["extendedError"]): void {
  const text = new TextEncoder().encode(error?.text ?? "");
  writer.bytes(new Uint8Array([0]));
  // BADVERS is 16: one in the upper eight bits of the twelve.
  writer.uint16(TYPE.OPT, UDP_BYTES, isBadVersion ? 0x0100 : 0, 0, error ? 6 + text.length : 0);
  if (!error) return;
  writer.uint16(15, 2 + text.length, error.code);
  writer.bytes(text);
}

/** For queries that could not be read: their id and what was wrong. */
export function encodeFailure(id: number, opcode: number, rcode: Rcode): Uint8Array<ArrayBuffer> {
  const writer = new MessageWriter();
  writer.uint16(id, 0x8000 | (opcode << 11) | rcode, 0, 0, 0, 0);
  return writer.take();
}

/** @param name of plain labels: our own, or one that was read */
export function encodeName(name: string): Uint8Array<ArrayBuffer> {
  const writer = new MessageWriter();
  for (const label of name === "" ? [] : name.split(".")) {
    const bytes = Uint8Array.from(
      [...label.matchAll(/\\(\d{3})|[^\\]/g)].map(([char, code]) =>
        code === undefined ? char.charCodeAt(0) : Number(code)
      ),
    );
    writer.bytes(new Uint8Array([bytes.length]));
    writer.bytes(bytes);
  }
  writer.bytes(new Uint8Array([0]));
  return writer.take();
}

export function encodeQuery(id: number, name: string, type: number): Uint8Array<ArrayBuffer> {
  const writer = new MessageWriter();
  writer.uint16(id, 0x0100, 1, 0, 0, 0);
  writer.bytes(encodeName(name));
  writer.uint16(type, CLASS.IN);
  return writer.take();
}

/** Grows; messages of ours stay far below its first size. */
class MessageWriter {
  #buffer = new Uint8Array(512);
  #length = 0;

  uint16(...values: number[]): void {
    for (const value of values) this.bytes(new Uint8Array([value >>> 8, value & 0xff]));
  }

  bytes(bytes: Uint8Array): void {
    if (this.#length + bytes.length > this.#buffer.length) {
      const larger = new Uint8Array(2 * (this.#length + bytes.length));
      larger.set(this.#buffer.subarray(0, this.#length));
      this.#buffer = larger;
    }
    this.#buffer.set(bytes, this.#length);
    this.#length += bytes.length;
  }

  take(): Uint8Array<ArrayBuffer> {
    return this.#buffer.slice(0, this.#length);
  }
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
