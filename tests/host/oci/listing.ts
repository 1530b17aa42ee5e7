/** A directory of the host and a tree in memory as the same plain data, to be compared. */
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
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

/** What FFI and find(1) see below `directory`, itself as "". */
export async function listDirectory(directory: string): Promise<Listing> {
  const fields = ["%P", "%y", "%m", "%U", "%G", "%T@", "%l", "%i"];
  const found = splitZeros(await run("find", [directory, "-printf", `${fields.join("\\0")}\\0`]));
  const hashes = await contentHashes(directory);
  const devices = await deviceNumbers(directory);
  using readXattrs = xattrReader();
  const entries: { path: string; inode: string; text: string }[] = [];
  for (let i = 0; i + fields.length <= found.length; i += fields.length) {
    const [path, kind, mode, uid, gid, time, target, inode] = found.slice(i, i + fields.length) as string[];
    const whole = path === "" ? directory : `${directory}/${path}`;
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
        xattrs: readXattrs.of(whole),
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

async function contentHashes(directory: string): Promise<Map<string, string>> {
  const output = splitZeros(
    await run("find", [directory, "-type", "f", "-exec", "sha256sum", "--zero", "{}", "+"]),
  );
  return new Map(output.filter((text) => text !== "").map((text) => [text.slice(66), text.slice(0, 64)]));
}

async function deviceNumbers(directory: string): Promise<Map<string, string>> {
  const args = [directory, "-type", "b,c", "-exec", "stat", "--printf=%n\\0%t:%T\\0", "{}", "+"];
  const output = splitZeros(await run("find", args));
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

/** A sink that keeps hashes only. */
export function hashingSink() {
  return {
    begin: () => {
      const hash = createHash("sha256");
      let sizeBytes = 0;
      return {
        write: (chunk: Uint8Array) => {
          hash.update(chunk);
          sizeBytes += chunk.length;
          return Promise.resolve();
        },
        end: () => Promise.resolve({ sizeBytes, token: hash.digest("hex") }),
        abort: () => Promise.resolve(),
      };
    },
  };
}
