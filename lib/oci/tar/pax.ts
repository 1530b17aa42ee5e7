import { bytesOf, type ByteString, byteString } from "../../base/tree.ts";
import { corruptTar } from "./errors.ts";

/** Records of one extended header. A Map, since keys such as `__proto__` are data. Values byte-exact. */
export type PaxRecords = Map<string, ByteString>;

/** Nothing good needs more, and each costs memory. */
const MAX_RECORDS = 4096;

/**
 * Parses the body of a pax extended header: records `<length> <key>=<value>\n`, the length covering all of
 * the record.
 *
 * @throws {BangerError} `corrupt_data` where a record does not keep to that, and for a NUL in a key or name
 * Source: POSIX.1-2017, pax, "pax Extended Header"
 */
export function parsePax(body: Uint8Array): PaxRecords {
  const records: PaxRecords = new Map();
  // GNU's sparse format 0.0 repeats keys: they are collected, in order, under one key.
  const sparse: string[] = [];
  let at = 0;
  for (let count = 0; at < body.length; count++) {
    if (count === MAX_RECORDS && sparse.length === 0) throw corruptTar("a pax header has too many records");
    const { key, value, end } = parseRecord(body, at);
    at = end;
    if (key === "GNU.sparse.offset" || key === "GNU.sparse.numbytes") sparse.push(value);
    else records.set(key, value);
  }
  if (sparse.length > 0) records.set("GNU.sparse.map", sparse.join(",") as ByteString);
  return records;
}

function parseRecord(body: Uint8Array, start: number): { key: string; value: ByteString; end: number } {
  let space = start;
  let length = 0;
  for (;; space++) {
    const byte = body[space];
    if (byte === 0x20 && space > start) break;
    if (byte === undefined || byte < 0x30 || byte > 0x39 || space - start > 7) {
      throw corruptTar("a pax record has no length");
    }
    length = length * 10 + (byte - 0x30);
  }
  const end = start + length;
  const equals = body.indexOf(0x3d, space + 1);
  if (end > body.length || equals < 0 || equals >= end || body[end - 1] !== 0x0a) {
    throw corruptTar("a pax record's length is wrong");
  }
  const key = byteString(body.subarray(space + 1, equals));
  if (key === "" || key.includes("\0")) throw corruptTar("a pax record has no valid key");
  const value = body.subarray(equals + 1, end - 1);
  if ((key === "path" || key === "linkpath") && value.includes(0)) {
    throw corruptTar(`the pax record ${key} contains a NUL`);
  }
  return { key, value: byteString(value), end };
}

const XATTR = "SCHILY.xattr.";
const LIBARCHIVE_XATTR = "LIBARCHIVE.xattr.";
/** XATTR_NAME_MAX and XATTR_SIZE_MAX of Linux. */
const MAX_XATTR_NAME_BYTES = 255;
const MAX_XATTR_VALUE_BYTES = 65_536;

/**
 * The extended attributes among pax records. Where libarchive wrote an attribute in both its own way and
 * star's, star's is taken.
 *
 * @throws {BangerError} `corrupt_data` beyond what Linux could store
 */
export function xattrsOf(records: PaxRecords): Map<string, Uint8Array> | undefined {
  let xattrs: Map<string, Uint8Array> | undefined;
  for (const [key, value] of records) {
    if (key.startsWith(XATTR)) {
      (xattrs ??= new Map()).set(key.slice(XATTR.length), bytesOf(value));
    } else if (key.startsWith(LIBARCHIVE_XATTR)) {
      const name = percentDecode(key.slice(LIBARCHIVE_XATTR.length));
      if (records.has(XATTR + name)) continue;
      (xattrs ??= new Map()).set(name, base64Decode(value));
    }
  }
  for (const [name, value] of xattrs ?? []) {
    if (name === "" || name.length > MAX_XATTR_NAME_BYTES || name.includes("\0")) {
      throw corruptTar("an extended attribute's name is empty or too long");
    }
    if (value.length > MAX_XATTR_VALUE_BYTES) throw corruptTar("an extended attribute is larger than 64 KiB");
  }
  return xattrs;
}

function percentDecode(text: string): string {
  return text.replaceAll(/%([0-9a-fA-F]{2})/g, (_, hex) => String.fromCharCode(parseInt(hex, 16)));
}

function base64Decode(text: string): Uint8Array {
  // libarchive leaves out the padding.
  const bare = text.replace(/=+$/, "");
  if (!/^[A-Za-z0-9+/]*$/.test(bare) || bare.length % 4 === 1) {
    throw corruptTar("a LIBARCHIVE.xattr record is no base64");
  }
  return Uint8Array.from(atob(bare), (char) => char.charCodeAt(0));
}
