import { type ByteString, byteString } from "../../base/tree.ts";
import { KIB, MIB } from "../../base/units.ts";
import { corruptTar } from "./errors.ts";
import { BLOCK_BYTES, type GnuSparseFields, parseGnuSparse, type RawHeader } from "./header.ts";
import { parseDecimal, parseNumber } from "./numbers.ts";
import type { PaxRecords } from "./pax.ts";

/** 24 bytes each in the old format, so about as much text as a map of 1 MiB has in the others. */
const MAX_FRAGMENTS = 43_690;
const MAX_MAP_BYTES = MIB;
const ZEROS_BYTES = 64 * KIB;

interface Fragment {
  readonly offsetBytes: number;
  readonly sizeBytes: number;
}

/** Puts a sparse file's stored pieces back in their places; the holes between them read as zeros. */
export class SparseMap {
  readonly sizeBytes: number;
  readonly #fragments: readonly Fragment[];
  #index = 0;
  #position = 0;
  #zeros: Uint8Array | undefined;

  /** @throws {BangerError} `corrupt_data` unless the pieces are in order, apart, inside, and `storedBytes` in all */
  constructor(fragments: readonly Fragment[], sizeBytes: number, storedBytes: number) {
    let end = 0;
    let total = 0;
    for (const { offsetBytes, sizeBytes: length } of fragments) {
      if (offsetBytes < end || length < 0) throw corruptTar("a sparse map is out of order");
      end = offsetBytes + length;
      total += length;
    }
    if (end > sizeBytes || !Number.isSafeInteger(end)) throw corruptTar("a sparse map goes beyond its file");
    if (total !== storedBytes) throw corruptTar("a sparse map does not fit the content");
    this.#fragments = fragments.filter((fragment) => fragment.sizeBytes > 0);
    this.sizeBytes = sizeBytes;
  }

  /** @param stored gives the next stored bytes, up to so many */
  async nextChunk(
    stored: (atMost: number) => Promise<Uint8Array | undefined>,
  ): Promise<Uint8Array | undefined> {
    const fragment = this.#fragments[this.#index];
    const holeEnd = fragment?.offsetBytes ?? this.sizeBytes;
    if (this.#position < holeEnd) {
      this.#zeros ??= new Uint8Array(ZEROS_BYTES);
      const length = Math.min(ZEROS_BYTES, holeEnd - this.#position);
      this.#position += length;
      return this.#zeros.subarray(0, length);
    }
    if (fragment === undefined) return undefined;
    const chunk = await stored(fragment.offsetBytes + fragment.sizeBytes - this.#position);
    if (chunk === undefined) throw corruptTar("it ends inside a sparse file");
    this.#position += chunk.length;
    if (this.#position === fragment.offsetBytes + fragment.sizeBytes) this.#index++;
    return chunk;
  }
}

export interface SparseFile {
  readonly map: SparseMap;
  /** The real name, where the format hides it behind a made-up one. */
  readonly name: ByteString | undefined;
}

/**
 * Recognises a sparse file in GNU's old format and in pax 0.0, 0.1 and 1.0, and reads its map.
 *
 * @param storedBytes of the entry's body, which in 1.0 begins with the map
 * @param take reads from the input at the place after the header
 * @param takenFromBody told how much of the body the map was
 * @throws {BangerError} `corrupt_data`
 * Source: GNU tar manual, "Storing Sparse Files"
 */
export async function readSparseMap(
  header: RawHeader,
  pax: PaxRecords,
  storedBytes: number,
  take: (length: number) => Promise<Uint8Array>,
  takenFromBody: (bytes: number) => void,
): Promise<SparseFile | undefined> {
  if (header.type === "S") return await readOldGnu(header, storedBytes, take);
  const version = `${pax.get("GNU.sparse.major") ?? ""}.${pax.get("GNU.sparse.minor") ?? ""}`;
  if (version === "1.0") return await readVersion1(pax, storedBytes, take, takenFromBody);
  if (!pax.has("GNU.sparse.map") && version === ".") return undefined;
  if (!["0.0", "0.1", "."].includes(version)) throw corruptTar("a sparse file has an unknown version");

  const size = pax.get("GNU.sparse.size") ?? pax.get("GNU.sparse.realsize");
  const map = pax.get("GNU.sparse.map");
  if (size === undefined || map === undefined) throw corruptTar("a sparse file lacks its map or size");
  const numbers = map === "" ? [] : map.split(",").map((text) => parseDecimal(text, "GNU.sparse.map"));
  const sizeBytes = parseDecimal(size, "GNU.sparse.size");
  return { map: new SparseMap(pairs(numbers), sizeBytes, storedBytes), name: pax.get("GNU.sparse.name") };
}

function pairs(numbers: readonly number[]): Fragment[] {
  if (numbers.length % 2 !== 0) throw corruptTar("a sparse map has half a piece");
  const fragments: Fragment[] = [];
  for (let i = 0; i < numbers.length; i += 2) {
    fragments.push({ offsetBytes: numbers[i]!, sizeBytes: numbers[i + 1]! });
  }
  return fragments;
}

async function readOldGnu(
  header: RawHeader,
  storedBytes: number,
  take: (length: number) => Promise<Uint8Array>,
): Promise<SparseFile> {
  if (header.gnuSparse === undefined) throw corruptTar("a sparse entry is not in GNU's format");
  const numbers: number[] = [];
  let fields: GnuSparseFields = header.gnuSparse;
  const sizeBytes = parseNumber(fields.realSize, 0, 12, "real size");
  for (;;) {
    for (let at = 0; at < fields.map.length; at += 24) {
      // The map ends with a piece whose field is empty.
      if (fields.map[at] === 0) break;
      numbers.push(parseNumber(fields.map, at, 12, "sparse offset"));
      numbers.push(parseNumber(fields.map, at + 12, 12, "sparse size"));
    }
    if (!fields.isExtended) break;
    if (numbers.length > 2 * MAX_FRAGMENTS) throw corruptTar("a sparse map is too long");
    fields = parseGnuSparse(await take(BLOCK_BYTES), 21);
  }
  return { map: new SparseMap(pairs(numbers), sizeBytes, storedBytes), name: undefined };
}

/** The map is text in front of the content: how many pieces, then offset and size of each, a line a number. */
async function readVersion1(
  pax: PaxRecords,
  storedBytes: number,
  take: (length: number) => Promise<Uint8Array>,
  takenFromBody: (bytes: number) => void,
): Promise<SparseFile> {
  const size = pax.get("GNU.sparse.realsize");
  if (size === undefined) throw corruptTar("a sparse file lacks its size");
  const numbers: number[] = [];
  let text = "";
  let taken = 0;
  const expected = () => numbers.length === 0 ? 1 : 1 + 2 * numbers[0]!;
  while (numbers.length < expected()) {
    if (taken + BLOCK_BYTES > Math.min(storedBytes, MAX_MAP_BYTES)) {
      throw corruptTar("a sparse map is longer than its entry, or than 1 MiB");
    }
    text += byteString(await take(BLOCK_BYTES));
    taken += BLOCK_BYTES;
    const lines = text.split("\n");
    text = lines.pop()!;
    for (const line of lines) {
      if (numbers.length < expected()) numbers.push(parseDecimal(line, "sparse map"));
    }
    if (numbers[0] !== undefined && (numbers[0] < 0 || numbers[0] > MAX_FRAGMENTS)) {
      throw corruptTar("a sparse map has too many pieces");
    }
  }
  takenFromBody(taken);
  const map = new SparseMap(
    pairs(numbers.slice(1)),
    parseDecimal(size, "GNU.sparse.realsize"),
    storedBytes - taken,
  );
  return { map, name: pax.get("GNU.sparse.name") };
}
