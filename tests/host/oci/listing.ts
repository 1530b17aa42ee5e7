/** A directory of the host and a tree in memory as the same plain data, to be compared. */
import { Buffer } from "node:buffer";
import {
  bytesOf,
  type ByteString,
  byteString,
  type DirectoryInode,
  type Inode,
} from "../../../lib/base/tree.ts";
import { walkTree } from "../../../lib/base/tree_paths.ts";
import { run } from "./tools.ts";

/** By path: everything that an unpacker decides, in one line. Hard links name their first path. */
export type Listing = Record<string, string>;

interface Shown {
  readonly kind: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Seconds with nine digits. */
  readonly mtime: string;
  /** Hash of the content, target, device number. */
  readonly what: string;
  readonly xattrs: readonly string[];
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}

function line(shown: Shown): string {
  const { kind, mode, uid, gid, mtime, what, xattrs } = shown;
  return [kind, mode.toString(8), `${uid}:${gid}`, mtime, what, ...xattrs.toSorted()].join(" ");
}

/** Who looks at a directory: this host, or a guest's kernel. */
export interface Observer {
  /** @returns stdout of find(1), sha256sum(1), stat(1) */
  run(program: string, args: readonly string[]): Promise<Uint8Array>;
  /** Extended attributes as `name=hex`, by path. */
  xattrs(directory: string, paths: readonly string[]): Promise<(path: string) => string[]>;
}

/** This host's kernel. */
const HOST: Observer = {
  run,
  xattrs: (_directory, paths) => {
    using reader = xattrReader();
    const found = new Map(paths.map((path) => [path, reader.of(path)]));
    return Promise.resolve((path) => found.get(path) ?? []);
  },
};

/**
 * What is below `directory`, itself as "".
 *
 * @param not arguments of find(1) that leave something out
 */
export async function listDirectory(
  directory: string,
  observer: Observer = HOST,
  not: readonly string[] = [],
): Promise<Listing> {
  const fields = ["%P", "%y", "%m", "%U", "%G", "%T@", "%l", "%i"];
  const print = ["-printf", `${fields.join("\\0")}\\0`];
  const found = splitZeros(await observer.run("find", [directory, ...not, ...print]));
  const wholeOf = (path: string) => path === "" ? directory : `${directory}/${path}`;
  const paths = found.filter((_, at) => at % fields.length === 0 && at + fields.length <= found.length);
  const hashes = await contentHashes(directory, observer, not);
  const devices = await deviceNumbers(directory, observer, not);
  const xattrsOf = await observer.xattrs(directory, paths.map(wholeOf));
  const entries: { path: string; inode: string; text: string }[] = [];
  for (let i = 0; i + fields.length <= found.length; i += fields.length) {
    const [path, kind, mode, uid, gid, time, target, inode] = found.slice(i, i + fields.length) as string[];
    const whole = wholeOf(path!);
    entries.push({
      path: path!,
      inode: inode!,
      text: line({
        kind: kind!,
        mode: kind === "l" ? 0o777 : parseInt(mode!, 8),
        uid: Number(uid),
        gid: Number(gid),
        mtime: nineDigits(time!),
        what: hashes.get(whole) ?? devices.get(whole) ?? target!,
        xattrs: xattrsOf(whole),
      }),
    });
  }
  entries.sort((a, b) => (a.path < b.path ? -1 : 1));
  return withLinks(entries.map(({ path, inode, text }) => [path, inode, text]));
}

function withLinks(entries: readonly (readonly [string, unknown, string])[]): Listing {
  const first = new Map<unknown, string>();
  const listing: Listing = {};
  for (const [path, inode, text] of entries) {
    const original = first.get(inode);
    if (original === undefined) first.set(inode, path);
    listing[path] = original === undefined ? text : `= ${original}`;
  }
  return listing;
}

/** find prints ten digits behind the dot. */
function nineDigits(time: string): string {
  const [seconds, fraction = ""] = time.split(".");
  return `${seconds}.${fraction.padEnd(9, "0").slice(0, 9)}`;
}

function splitZeros(bytes: Uint8Array): string[] {
  return byteString(bytes).split("\0");
}

async function contentHashes(
  directory: string,
  observer: Observer,
  not: readonly string[],
): Promise<Map<string, string>> {
  const args = [directory, ...not, "-type", "f", "-exec", "sha256sum", "--zero", "{}", "+"];
  const output = splitZeros(await observer.run("find", args));
  return new Map(output.filter((text) => text !== "").map((text) => [text.slice(66), text.slice(0, 64)]));
}

async function deviceNumbers(
  directory: string,
  observer: Observer,
  not: readonly string[],
): Promise<Map<string, string>> {
  const args = [directory, ...not, "-type", "b,c", "-exec", "stat", "--printf=%n\\0%t:%T\\0", "{}", "+"];
  const output = splitZeros(await observer.run("find", args));
  const numbers = new Map<string, string>();
  for (let i = 0; i + 1 < output.length; i += 2) numbers.set(output[i]!, output[i + 1]!);
  return numbers;
}

/** Extended attributes through libc: no tool prints any bytes of any name. */
function xattrReader(): Disposable & { of(path: string): string[] } {
  const libc = Deno.dlopen("libc.so.6", {
    llistxattr: { parameters: ["buffer", "buffer", "usize"], result: "isize" },
    lgetxattr: { parameters: ["buffer", "buffer", "buffer", "usize"], result: "isize" },
  });
  const buffer = new Uint8Array(65_536);
  const terminated = (text: string) => bytesOf(`${text}\0` as ByteString).slice();
  return {
    of(path) {
      const length = Number(libc.symbols.llistxattr(terminated(path), buffer, BigInt(buffer.length)));
      const names = length <= 0 ? [] : byteString(buffer.subarray(0, length)).split("\0").slice(0, -1);
      return names.map((name) => {
        const size = Number(
          libc.symbols.lgetxattr(terminated(path), terminated(name), buffer, BigInt(buffer.length)),
        );
        return `${name}=${hex(buffer.slice(0, size))}`;
      });
    },
    [Symbol.dispose]: () => libc.close(),
  };
}

/** What is in a tree; `contentOf` gives the hash of a file's content. */
export function listTree(
  root: DirectoryInode,
  contentOf: (inode: Inode & { kind: "file" }) => string,
): Listing {
  const entries = [...walkTree(root)].map(({ path, inode }) => ({ path: path.slice(1), inode }));
  entries.sort((a, b) => (a.path < b.path ? -1 : 1));
  return withLinks(entries.map(({ path, inode }) => [path, inode, lineOf(inode, contentOf)]));
}

const LETTERS = {
  file: "f",
  directory: "d",
  symlink: "l",
  "character-device": "c",
  "block-device": "b",
  fifo: "p",
  socket: "s",
} as const;

function lineOf(inode: Inode, contentOf: (inode: Inode & { kind: "file" }) => string): string {
  const { mode, uid, gid, mtime, xattrs } = inode.attributes;
  return line({
    kind: LETTERS[inode.kind],
    mode: inode.kind === "symlink" ? 0o777 : mode,
    uid,
    gid,
    mtime: shownTime(mtime),
    what: inode.kind === "file"
      ? contentOf(inode)
      : inode.kind === "symlink"
      ? inode.target
      : deviceText(inode),
    xattrs: [...xattrs].map(([name, value]) => `${name}=${hex(value)}`),
  });
}

/** As find prints it: -1.5 is "-2.5", half a second after -2. */
function shownTime({ seconds, nanoseconds }: { seconds: number; nanoseconds: number }): string {
  return `${seconds}.${String(nanoseconds).padStart(9, "0")}`;
}

function deviceText(inode: Inode): string {
  if (inode.kind !== "character-device" && inode.kind !== "block-device") return "";
  return `${inode.major.toString(16)}:${inode.minor.toString(16)}`;
}
