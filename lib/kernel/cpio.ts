import { concatBytes } from "../base/bytes.ts";

/** One entry of an initramfs; all are root's, dated 1970. */
export type CpioEntry =
  | { readonly kind: "directory"; readonly path: string; readonly mode: number }
  | { readonly kind: "file"; readonly path: string; readonly mode: number; readonly content: Uint8Array }
  | { readonly kind: "symlink"; readonly path: string; readonly target: string }
  | {
    readonly kind: "character-device";
    readonly path: string;
    readonly mode: number;
    readonly major: number;
    readonly minor: number;
  };

const S_IFMT = {
  file: 0o100000,
  directory: 0o040000,
  symlink: 0o120000,
  "character-device": 0o020000,
} as const;
const MAX_FIELD = 0xffffffff;

/**
 * A "newc" archive: the same entries give the same bytes. Archives may follow one another, and what comes
 * later wins; each begins at a multiple of 4, which this one's end is.
 *
 * @param entries a directory before what is in it; paths without a leading slash
 * @returns a multiple of 512 bytes
 * Source: Linux Documentation/driver-api/early-userspace/buffer-format.rst
 */
export function writeCpio(entries: readonly CpioEntry[]): Uint8Array<ArrayBuffer> {
  const parts: Uint8Array[] = [];
  for (const [index, entry] of entries.entries()) parts.push(...member(index + 1, entry));
  parts.push(...member(0, { kind: "file", path: "TRAILER!!!", mode: 0, content: new Uint8Array(0) }, 0));
  const length = parts.reduce((sum, { length }) => sum + length, 0);
  parts.push(new Uint8Array((512 - length % 512) % 512));
  return concatBytes(parts);
}

function member(inode: number, entry: CpioEntry, format: number = S_IFMT[entry.kind]): Uint8Array[] {
  const name = new TextEncoder().encode(`${entry.path}\0`);
  const content = entry.kind === "file"
    ? entry.content
    : entry.kind === "symlink"
    ? new TextEncoder().encode(entry.target)
    : new Uint8Array(0);
  const mode = entry.kind === "symlink" ? 0o777 : entry.mode;
  const [major, minor] = entry.kind === "character-device" ? [entry.major, entry.minor] : [0, 0];
  const links = entry.kind === "directory" ? 2 : 1;
  // inode, mode, uid, gid, links, mtime, size, device (2), special device (2), name's size, checksum
  const fields = [inode, format | mode, 0, 0, links, 0, content.length, 0, 0, major, minor, name.length, 0];
  const header = new TextEncoder().encode(`070701${fields.map(hexadecimal).join("")}`);
  return [header, name, padding(header.length + name.length), content, padding(content.length)];
}

function hexadecimal(value: number): string {
  if (value > MAX_FIELD) throw new RangeError(`${value} does not fit a cpio field`);
  return value.toString(16).padStart(8, "0");
}

function padding(length: number): Uint8Array {
  return new Uint8Array((4 - length % 4) % 4);
}
