import type { ByteString } from "../../base/tree.ts";
import { corruptTar } from "./errors.ts";
import { parseNumber } from "./numbers.ts";

export const BLOCK_BYTES = 512;

/** One header block, as it stands. */
export interface RawHeader {
  /** A character, for example "0" for a file. */
  readonly type: string;
  readonly path: ByteString;
  readonly linkTarget: ByteString;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly sizeBytes: number;
  readonly mtimeSeconds: number;
  readonly major: number;
  readonly minor: number;
  readonly format: "v7" | "ustar" | "star" | "gnu";
  /** Of entries of type "S" in GNU's format. */
  readonly gnuSparse: GnuSparseFields | undefined;
}

/** GNU's old sparse map, in a header or in one of the blocks that continue it. */
export interface GnuSparseFields {
  /** 24 bytes a piece: offset and size as numeric fields. */
  readonly map: Uint8Array;
  readonly isExtended: boolean;
  readonly realSize: Uint8Array;
}

/** A block that continues a sparse map: `pieces` of 24 bytes, then whether another follows. */
export function parseGnuSparse(block: Uint8Array, pieces: number, start = 0): GnuSparseFields {
  const end = start + 24 * pieces;
  return {
    map: block.slice(start, end),
    isExtended: block[end] !== 0,
    realSize: block.slice(end + 1, end + 13),
  };
}

export function isZeroBlock(block: Uint8Array): boolean {
  return block[0] === 0 && block.every((byte) => byte === 0);
}

/**
 * Parses a header block of v7, ustar, star or GNU format.
 *
 * @throws {BangerError} `corrupt_data` for a wrong checksum or a field that is no number
 * Source: POSIX.1-2017, pax, "ustar Interchange Format"; GNU tar manual, "Basic Tar Format"
 */
export function parseHeader(block: Uint8Array): RawHeader {
  checkSum(block);
  const format = formatOf(block);
  const name = text(block, 0, 100);
  // GNU keeps times and sparse maps where ustar has the prefix.
  const prefixBytes = format === "ustar" ? 155 : format === "star" ? 131 : 0;
  const prefix = text(block, 345, prefixBytes);
  const hasDevice = format !== "v7";
  const type = String.fromCharCode(block[156]!);
  const mode = parseNumber(block, 100, 8, "mode");
  if (mode < 0 || mode > 0xffff_ffff) throw corruptTar("an entry's mode is out of range");
  return {
    type,
    path: (prefix === "" ? name : `${prefix}/${name}`) as ByteString,
    linkTarget: text(block, 157, 100),
    mode,
    uid: parseNumber(block, 108, 8, "uid"),
    gid: parseNumber(block, 116, 8, "gid"),
    sizeBytes: parseNumber(block, 124, 12, "size"),
    mtimeSeconds: parseNumber(block, 136, 12, "mtime"),
    major: hasDevice ? parseNumber(block, 329, 8, "major") : 0,
    minor: hasDevice ? parseNumber(block, 337, 8, "minor") : 0,
    format,
    gnuSparse: type === "S" && format === "gnu" ? parseGnuSparse(block, 4, 386) : undefined,
  };
}

/** Historic writers summed signed bytes: both are taken, as everywhere. */
function checkSum(block: Uint8Array): void {
  const stated = parseNumber(block, 148, 8, "checksum");
  // The checksum's own eight bytes count as spaces.
  let unsigned = 8 * 0x20;
  let high = 0;
  for (let i = 0; i < BLOCK_BYTES; i++) {
    if (i === 148) i = 156;
    const byte = block[i]!;
    unsigned += byte;
    high += byte >> 7;
  }
  if (stated !== unsigned && stated !== unsigned - 256 * high) {
    throw corruptTar("a header's checksum is wrong");
  }
}

function formatOf(block: Uint8Array): RawHeader["format"] {
  if (!holds(block, 257, "ustar")) return "v7";
  if (holds(block, 262, "  \0")) return "gnu";
  if (block[262] !== 0) return "v7";
  return holds(block, 508, "tar\0") ? "star" : "ustar";
}

function holds(block: Uint8Array, start: number, text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    if (block[start + i] !== text.charCodeAt(i)) return false;
  }
  return true;
}

/** Up to the first NUL, or all of the field. */
function text(block: Uint8Array, start: number, length: number): ByteString {
  let end = start;
  while (end < start + length && block[end] !== 0) end++;
  // Eight at a time: spreading an array costs more than all else in a header.
  let whole = "";
  let at = start;
  for (; at + 8 <= end; at += 8) {
    whole += String.fromCharCode(
      block[at]!,
      block[at + 1]!,
      block[at + 2]!,
      block[at + 3]!,
      block[at + 4]!,
      block[at + 5]!,
      block[at + 6]!,
      block[at + 7]!,
    );
  }
  for (; at < end; at++) whole += String.fromCharCode(block[at]!);
  return whole as ByteString;
}
