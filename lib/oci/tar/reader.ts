import { type Attributes, type ByteString, byteString, NO_XATTRS, type Timestamp } from "../../base/tree.ts";
import { MIB } from "../../base/units.ts";
import { ChunkCursor } from "./chunk_cursor.ts";
import type { EntrySource, TarEntry, TarEntryKind } from "./entry.ts";
import { corruptTar } from "./errors.ts";
import { BLOCK_BYTES, isZeroBlock, parseHeader, type RawHeader } from "./header.ts";
import { parseDecimal, parseTime } from "./numbers.ts";
import { parsePax, type PaxRecords, xattrsOf } from "./pax.ts";
import { readSparseMap, type SparseMap } from "./sparse.ts";

/** Of a long name, a pax header or a sparse map: checked before memory is taken for it. */
const MAX_META_BYTES = MIB;
/** Linux's PATH_MAX without its NUL. */
const MAX_PATH_BYTES = 4095;
/** (uid_t)-1 means "leave as it is" to the kernel: no file can have it. */
const MAX_ID = 2 ** 32 - 2;
/** Linux has 12 and 20 bits. */
const MAX_MAJOR = 0xfff;
const MAX_MINOR = 0xfffff;

const KINDS: ReadonlyMap<string, TarEntryKind> = new Map([
  ["\0", "file"],
  ["0", "file"],
  ["1", "hard-link"],
  ["2", "symlink"],
  ["3", "character-device"],
  ["4", "block-device"],
  ["5", "directory"],
  ["6", "fifo"],
  ["7", "file"], // contiguous
  ["S", "file"], // GNU sparse
]);

/** Headers that describe the entry after them, or all entries after them. */
const EXTENDED_TYPES: ReadonlySet<string> = new Set(["x", "g", "L", "K"]);

/** What extended headers said so far about the entry that follows them. */
interface Extended {
  pax?: PaxRecords;
  longPath?: ByteString;
  longLinkTarget?: ByteString;
}

const NO_RECORDS: PaxRecords = new Map();

/**
 * Reads a tar archive (v7, ustar, star, GNU, pax) front to back from untrusted bytes. Names stay byte-exact;
 * content comes as views of the input's own chunks. Memory: one header, and at most 1 MiB of extended header.
 *
 * Where formats leave room, it reads as Go's archive/tar does, since that is what container engines use, and
 * refuses where two readers could see different archives.
 *
 * @throws {BangerError} `corrupt_data` from `nextEntry` and `nextChunk`
 */
export class TarReader implements EntrySource {
  readonly #cursor: ChunkCursor;
  /** Of the global pax headers so far (POSIX: they hold until overridden). */
  #global: PaxRecords = NO_RECORDS;
  /** Content and padding of the current entry that still lie in the input. */
  #bodyLeft = 0;
  #paddingLeft = 0;
  #sparse: SparseMap | undefined;
  #ended = false;

  constructor(input: AsyncIterable<Uint8Array>) {
    this.#cursor = new ChunkCursor(input);
  }

  async nextEntry(): Promise<TarEntry | undefined> {
    const extended: Extended = {};
    for (;;) {
      // Most of an archive is small files: what lies in the current chunk is taken without an await.
      if (!this.#skipBodyNow()) await this.#skipBody();
      const block = this.#ended ? undefined : this.#cursor.takeNow(BLOCK_BYTES) ?? await this.#takeBlock();
      if (block === undefined || isZeroBlock(block)) {
        if (hasAny(extended)) throw corruptTar("it ends after an extended header");
        if (block !== undefined) await this.#finish();
        return undefined;
      }
      const header = parseHeader(block);
      if (!EXTENDED_TYPES.has(header.type)) return await this.#entry(header, extended);
      readExtended(header, await this.#meta(header), extended, this.#global, (all) => this.#global = all);
    }
  }

  nextChunk(): Promise<Uint8Array | undefined> {
    if (this.#sparse !== undefined) return this.#sparse.nextChunk((atMost) => this.#bodyChunk(atMost));
    return this.#bodyChunk(this.#bodyLeft);
  }

  /** Ends early: tells the input that nobody wants more. Idempotent. */
  async close(): Promise<void> {
    this.#ended = true;
    await this.#cursor.close();
  }

  #bodyChunk(atMost: number): Promise<Uint8Array | undefined> {
    const length = Math.min(atMost, this.#bodyLeft);
    if (length === 0) return Promise.resolve(undefined);
    return this.#cursor.takeSome(length).then((chunk) => {
      if (chunk === undefined) throw corruptTar("it ends inside a file's content");
      this.#bodyLeft -= chunk.length;
      return chunk;
    });
  }

  #skipBodyNow(): boolean {
    this.#sparse = undefined;
    if (!this.#cursor.skipNow(this.#bodyLeft + this.#paddingLeft)) return false;
    this.#bodyLeft = this.#paddingLeft = 0;
    return true;
  }

  async #skipBody(): Promise<void> {
    if (await this.#cursor.skip(this.#bodyLeft) < this.#bodyLeft) {
      throw corruptTar("it ends inside a file's content");
    }
    // An archive that stops right after the last content is complete enough for every reader.
    await this.#cursor.skip(this.#paddingLeft);
    this.#bodyLeft = this.#paddingLeft = 0;
  }

  /** @returns undefined where the archive has no end mark */
  async #takeBlock(): Promise<Uint8Array | undefined> {
    const block = await this.#cursor.take(BLOCK_BYTES);
    if (block.length === BLOCK_BYTES) return block;
    if (block.length > 0) throw corruptTar("it ends inside a header");
    return undefined;
  }

  /** After the first of the two blocks of zeros that end an archive. */
  async #finish(): Promise<void> {
    const second = await this.#cursor.take(BLOCK_BYTES);
    if (second.length > 0 && !isZeroBlock(second)) {
      throw corruptTar("a block of zeros is followed by something else");
    }
    // What comes after the end is not ours, but belongs to the digest.
    this.#ended = true;
    await this.#cursor.drain();
  }

  /** The body of an extended header, whose size is its own: an earlier pax header does not change it. */
  async #meta(header: RawHeader): Promise<Uint8Array> {
    if (header.sizeBytes < 0 || header.sizeBytes > MAX_META_BYTES) {
      throw corruptTar("an extended header is larger than 1 MiB");
    }
    const body = await this.#cursor.take(header.sizeBytes);
    if (body.length < header.sizeBytes) throw corruptTar("it ends inside an extended header");
    this.#paddingLeft = paddingOf(header.sizeBytes);
    return body;
  }

  async #entry(header: RawHeader, extended: Extended): Promise<TarEntry> {
    const own = extended.pax ?? NO_RECORDS;
    // An empty value takes a global one back: the header's own field counts again.
    const find = (key: string) => (own.has(key) ? own.get(key) : this.#global.get(key)) || undefined;
    const path = extended.longPath ?? find("path") ?? header.path;
    const linkTarget = extended.longLinkTarget ?? find("linkpath") ?? header.linkTarget;
    let kind = KINDS.get(header.type);
    if (kind === undefined) {
      throw corruptTar(`it has an entry of unknown type ${JSON.stringify(header.type)}`);
    }
    // v7 had no type for directories.
    if (kind === "file" && header.format === "v7" && path.endsWith("/")) kind = "directory";

    const size = find("size");
    const storedBytes = size === undefined ? header.sizeBytes : parseDecimal(size, "size");
    if (storedBytes < 0) throw corruptTar("an entry's size is negative");
    // As in Go's reader: whatever the header of these says, no content follows.
    this.#bodyLeft = kind === "file" ? storedBytes : 0;
    this.#paddingLeft = paddingOf(this.#bodyLeft);
    let sizeBytes = this.#bodyLeft;
    let name: ByteString | undefined;
    if (kind === "file" && maySparse(header, own)) {
      const sparse = await this.#readSparse(header, own);
      this.#sparse = sparse?.map;
      if (sparse !== undefined) sizeBytes = sparse.map.sizeBytes;
      name = sparse?.name;
    }
    const isLink = kind === "hard-link" || kind === "symlink";
    return {
      kind,
      path: checkPath(name ?? path),
      linkTarget: isLink ? checkPath(linkTarget) : "" as ByteString,
      attributes: attributesOf(header, own, find),
      sizeBytes,
      ...deviceOf(kind, header, find),
    };
  }

  async #readSparse(
    header: RawHeader,
    own: PaxRecords,
  ): Promise<{ map: SparseMap; name: ByteString | undefined } | undefined> {
    const take = async (length: number) => {
      const bytes = await this.#cursor.take(length);
      if (bytes.length < length) throw corruptTar("it ends inside a sparse map");
      return bytes;
    };
    return await readSparseMap(header, own, this.#bodyLeft, take, (taken) => this.#bodyLeft -= taken);
  }
}

/** Takes in a header that only describes the next one. */
function readExtended(
  header: RawHeader,
  body: Uint8Array,
  extended: Extended,
  global: PaxRecords,
  setGlobal: (records: PaxRecords) => void,
): void {
  switch (header.type) {
    case "x":
      if (extended.pax !== undefined) throw corruptTar("an entry has two pax headers");
      extended.pax = parsePax(body);
      break;
    case "g":
      if (hasAny(extended)) throw corruptTar("a global header stands between an entry and its own header");
      setGlobal(mergedGlobal(global, parsePax(body)));
      break;
    case "L":
      if (extended.longPath !== undefined) throw corruptTar("an entry has two long names");
      extended.longPath = untilNul(body);
      break;
    case "K":
      if (extended.longLinkTarget !== undefined) throw corruptTar("an entry has two long link names");
      extended.longLinkTarget = untilNul(body);
  }
}

function hasAny(extended: Extended): boolean {
  return extended.pax !== undefined || extended.longPath !== undefined ||
    extended.longLinkTarget !== undefined;
}

function maySparse(header: RawHeader, own: PaxRecords): boolean {
  return header.type === "S" || own.has("GNU.sparse.major") || own.has("GNU.sparse.map");
}

function paddingOf(sizeBytes: number): number {
  // Sizes may be beyond 32 bits, where bit operations would cut them.
  return (BLOCK_BYTES - sizeBytes % BLOCK_BYTES) % BLOCK_BYTES;
}

function untilNul(bytes: Uint8Array): ByteString {
  const end = bytes.indexOf(0);
  return byteString(end < 0 ? bytes : bytes.subarray(0, end));
}

/** One name for all entries that follow can only be meant to confuse. */
function mergedGlobal(before: PaxRecords, records: PaxRecords): PaxRecords {
  for (const key of ["path", "linkpath", "size"]) {
    if (records.has(key)) throw corruptTar(`a global header sets ${key} for all entries`);
  }
  const merged = new Map([...before, ...records]);
  if (merged.size > 1024) throw corruptTar("its global headers have too many records");
  return merged;
}

function checkPath(path: ByteString): ByteString {
  if (path === "") throw corruptTar("an entry has an empty name or link target");
  if (path.length > MAX_PATH_BYTES) {
    throw corruptTar(`a name or link target is longer than ${MAX_PATH_BYTES} bytes`);
  }
  return path;
}

type Find = (key: string) => ByteString | undefined;

function attributesOf(header: RawHeader, own: PaxRecords, find: Find): Attributes {
  const mtime = find("mtime");
  return {
    mode: header.mode & 0o7777,
    uid: idOf(find("uid"), header.uid, "uid"),
    gid: idOf(find("gid"), header.gid, "gid"),
    mtime: mtime === undefined
      ? { seconds: header.mtimeSeconds, nanoseconds: 0 } satisfies Timestamp
      : parseTime(mtime, "mtime"),
    xattrs: own === NO_RECORDS ? NO_XATTRS : xattrsOf(own) ?? NO_XATTRS,
  };
}

function idOf(record: ByteString | undefined, inHeader: number, name: string): number {
  const id = record === undefined ? inHeader : parseDecimal(record, name);
  if (id < 0 || id > MAX_ID) throw corruptTar(`an entry's ${name} is out of range`);
  return id;
}

function deviceOf(kind: TarEntryKind, header: RawHeader, find: Find): { major: number; minor: number } {
  if (kind !== "character-device" && kind !== "block-device") return { major: 0, minor: 0 };
  const majorRecord = find("SCHILY.devmajor");
  const minorRecord = find("SCHILY.devminor");
  const major = majorRecord === undefined ? header.major : parseDecimal(majorRecord, "SCHILY.devmajor");
  const minor = minorRecord === undefined ? header.minor : parseDecimal(minorRecord, "SCHILY.devminor");
  if (major < 0 || major > MAX_MAJOR || minor < 0 || minor > MAX_MINOR) {
    throw corruptTar("a device's number is out of Linux's range");
  }
  return { major, minor };
}
