/**
 * git's index: read as `git ls-files` tells it, written as a file of its own. So a split or sparse index, and
 * extensions that name programs or other files, end here.
 */
import { createHash } from "node:crypto";
import { BangerError } from "../base/errors.ts";
import type { ByteString } from "../base/tree.ts";

export interface IndexEntry {
  readonly path: ByteString;
  /** `0o100644`, `0o100755`, `0o120000`, `0o160000` for another repository's commit. */
  readonly mode: number;
  readonly oid: ByteString;
  /** 0; 1 to 3 inside a merge that has not ended. */
  readonly stage: number;
  /** ctime s, ns; mtime s, ns; dev; ino; uid; gid; size: what git saw when it last read the file. */
  readonly seen: readonly number[];
  readonly isAssumedUnchanged: boolean;
  readonly isSkipped: boolean;
  readonly isIntended: boolean;
}

export const GITLINK_MODE = 0o160000;
/** Bits of an entry in memory. Source: git's read-cache.h, as `ls-files --debug` prints them */
const ASSUMED_UNCHANGED = 0x8000;
const SKIPPED = 0x4000_0000;
const INTENDED = 0x2000_0000;

const DEBUG = new RegExp(
  "^ {2}ctime: (\\d+):(\\d+)\\n {2}mtime: (\\d+):(\\d+)\\n {2}dev: (\\d+)\\tino: (\\d+)\\n" +
    " {2}uid: (\\d+)\\tgid: (\\d+)\\n {2}size: (\\d+)\\tflags: ([0-9a-f]+)\\n$",
);

/**
 * @param text of `git ls-files --stage --debug -z`
 * @throws {BangerError} `internal` where this git prints it otherwise
 */
export function parseIndex(text: ByteString): IndexEntry[] {
  const entries: IndexEntry[] = [];
  for (let at = 0; at < text.length;) {
    const tab = text.indexOf("\t", at);
    const nul = text.indexOf("\0", tab);
    const end = endOfLines(text, nul + 1, 5);
    const head = /^([0-7]{6}) ([0-9a-f]{40,64}) ([0-3])$/.exec(text.slice(at, tab));
    const debug = DEBUG.exec(text.slice(nul + 1, end));
    if (!head || !debug) {
      throw new BangerError("internal", "Cannot read the list of files that git ls-files prints");
    }
    const flags = parseInt(debug[10]!, 16);
    entries.push({
      path: text.slice(tab + 1, nul) as ByteString,
      mode: parseInt(head[1]!, 8),
      oid: head[2] as ByteString,
      stage: Number(head[3]),
      seen: debug.slice(1, 10).map(Number),
      isAssumedUnchanged: (flags & ASSUMED_UNCHANGED) !== 0,
      isSkipped: (flags & SKIPPED) !== 0,
      isIntended: (flags & INTENDED) !== 0,
    });
    at = end;
  }
  return entries;
}

function endOfLines(text: ByteString, from: number, count: number): number {
  let at = from;
  for (let i = 0; i < count; i++) at = text.indexOf("\n", at) + 1;
  return at;
}

/** Numbers of 32 bits before an entry's object id: `seen` with the mode between. */
const STAT_WORDS = 10;

/**
 * @param entries in git's order, as `parseIndex` gives them
 * @returns version 2, or 3 where an entry's flags need it
 * Source: gitformat-index(5)
 */
export function writeIndex(
  entries: readonly IndexEntry[],
  objectFormat: "sha1" | "sha256",
): Uint8Array<ArrayBuffer> {
  const oidBytes = objectFormat === "sha1" ? 20 : 32;
  const isExtended = (entry: IndexEntry) => entry.isSkipped || entry.isIntended;
  const sizeOf = (entry: IndexEntry) => {
    const fixed = STAT_WORDS * 4 + oidBytes + 2 + (isExtended(entry) ? 2 : 0) + entry.path.length;
    return fixed + 8 - fixed % 8;
  };
  const size = entries.reduce((sum, entry) => sum + sizeOf(entry), 12);
  const bytes = new Uint8Array(size + oidBytes);
  const view = new DataView(bytes.buffer);
  bytes.set(new TextEncoder().encode("DIRC"));
  view.setUint32(4, entries.some(isExtended) ? 3 : 2);
  view.setUint32(8, entries.length);
  let start = 12;
  for (const entry of entries) {
    const { seen } = entry;
    const words = [...seen.slice(0, 6), entry.mode, ...seen.slice(6)];
    words.forEach((word, i) => view.setUint32(start + i * 4, word >>> 0));
    let at = start + STAT_WORDS * 4;
    for (let i = 0; i < oidBytes; i++) bytes[at++] = parseInt(entry.oid.slice(2 * i, 2 * i + 2), 16);
    const flags = Math.min(entry.path.length, 0xfff) | entry.stage << 12 |
      (isExtended(entry) ? 0x4000 : 0) | (entry.isAssumedUnchanged ? 0x8000 : 0);
    view.setUint16(at, flags);
    at += 2;
    if (isExtended(entry)) {
      view.setUint16(at, (entry.isSkipped ? 0x4000 : 0) | (entry.isIntended ? 0x2000 : 0));
      at += 2;
    }
    for (let i = 0; i < entry.path.length; i++) bytes[at++] = entry.path.charCodeAt(i);
    start += sizeOf(entry);
  }
  bytes.set(createHash(objectFormat).update(bytes.subarray(0, size)).digest(), size);
  return bytes;
}
