import { createHash } from "node:crypto";
import {
  type Attributes,
  byteStringOfText,
  type ContentSink,
  type DirectoryInode,
  emptyDirectory,
  type FileInode,
  type Inode,
  type StoredContent,
  type SymlinkInode,
  type Timestamp,
} from "../../../lib/base/tree.ts";
import { type FilesystemOptions, type FilesystemSummary, FilesystemWriter } from "../../../lib/ext4/mod.ts";

const PAGE_BYTES = 4096;

/** A sparse disk in memory that counts what is written. */
export class MemoryDisk {
  readonly #pages = new Map<number, Uint8Array>();
  #size = 0;
  writes = 0;
  bytesWritten = 0;

  readAt(buffer: Uint8Array, offsetBytes: number): Promise<number> {
    const length = Math.max(0, Math.min(buffer.length, this.#size - offsetBytes));
    for (let at = 0; at < length;) {
      const inPage = (offsetBytes + at) % PAGE_BYTES;
      const count = Math.min(PAGE_BYTES - inPage, length - at);
      const page = this.#pages.get(Math.floor((offsetBytes + at) / PAGE_BYTES));
      if (page) buffer.set(page.subarray(inPage, inPage + count), at);
      else buffer.fill(0, at, at + count);
      at += count;
    }
    return Promise.resolve(length);
  }

  writeAt(bytes: Uint8Array, offsetBytes: number): Promise<void> {
    this.writes++;
    this.bytesWritten += bytes.length;
    for (let at = 0; at < bytes.length;) {
      const inPage = (offsetBytes + at) % PAGE_BYTES;
      const count = Math.min(PAGE_BYTES - inPage, bytes.length - at);
      const number = Math.floor((offsetBytes + at) / PAGE_BYTES);
      let page = this.#pages.get(number);
      if (!page) this.#pages.set(number, page = new Uint8Array(PAGE_BYTES));
      page.set(bytes.subarray(at, at + count), inPage);
      at += count;
    }
    this.#size = Math.max(this.#size, offsetBytes + bytes.length);
    return Promise.resolve();
  }

  truncate(sizeBytes: number): Promise<void> {
    if (sizeBytes < this.#size) {
      for (const number of this.#pages.keys()) {
        if (number * PAGE_BYTES >= sizeBytes) this.#pages.delete(number);
      }
    }
    this.#size = sizeBytes;
    return Promise.resolve();
  }

  sizeBytes(): Promise<number> {
    return Promise.resolve(this.#size);
  }

  /** Numbers of the 4 KiB pages that were ever written, ascending. */
  get pageNumbers(): number[] {
    return [...this.#pages.keys()].sort((a, b) => a - b);
  }

  /** Of all bytes; unwritten pages and zero pages are the same. */
  digest(): string {
    const hash = createHash("sha256").update(String(this.#size));
    for (const number of this.pageNumbers) {
      const page = this.#pages.get(number)!;
      if (page.some((byte) => byte !== 0)) hash.update(`@${number}`).update(page);
    }
    return hash.digest("hex");
  }

  copy(): MemoryDisk {
    const copy = new MemoryDisk();
    for (const [number, page] of this.#pages) copy.#pages.set(number, page.slice());
    copy.#size = this.#size;
    return copy;
  }
}

export const OPTIONS: FilesystemOptions = {
  uuid: Uint8Array.from({ length: 16 }, (_, i) => 17 * i + 5),
  label: "test",
  timestamp: { seconds: 1_700_000_000, nanoseconds: 0 },
};

/** Writes a tree whose contents `fill` put into the sink. */
export async function writeFilesystem(
  disk: Parameters<typeof FilesystemWriter.create>[0],
  fill: (root: DirectoryInode, sink: FilesystemWriter) => Promise<void> | void,
  options: Partial<FilesystemOptions> = {},
): Promise<FilesystemSummary> {
  await using writer = await FilesystemWriter.create(disk, { ...OPTIONS, ...options });
  const root = emptyDirectory();
  await fill(root, writer);
  return await writer.finish(root);
}

export function attributes(some: Partial<Attributes> = {}): Attributes {
  return {
    mode: 0o644,
    uid: 0,
    gid: 0,
    mtime: { seconds: 1_600_000_000, nanoseconds: 123_456_789 },
    xattrs: new Map(),
    ...some,
  };
}

export async function store(sink: ContentSink, chunks: Iterable<Uint8Array>): Promise<StoredContent> {
  const writer = sink.begin();
  for (const chunk of chunks) await writer.write(chunk);
  return await writer.end();
}

export async function addFile(
  sink: ContentSink,
  directory: DirectoryInode,
  name: string,
  content: string | Uint8Array,
  some: Partial<Attributes> = {},
): Promise<FileInode> {
  const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
  const file: FileInode = { kind: "file", attributes: attributes(some), content: await store(sink, [bytes]) };
  directory.entries.set(byteStringOfText(name), file);
  return file;
}

export function addDirectory(
  parent: DirectoryInode,
  name: string,
  some: Partial<Attributes> = {},
): DirectoryInode {
  const directory: DirectoryInode = {
    kind: "directory",
    attributes: attributes({ mode: 0o755, ...some }),
    entries: new Map(),
  };
  parent.entries.set(byteStringOfText(name), directory);
  return directory;
}

export function symlink(target: string): SymlinkInode {
  return { kind: "symlink", attributes: attributes({ mode: 0o777 }), target: byteStringOfText(target) };
}

/** Numbers in [0, 1), the same for the same seed (mulberry32). */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

export function randomBytes(random: () => number, length: number): Uint8Array {
  return Uint8Array.from({ length }, () => 1 + Math.floor(random() * 255));
}

/**
 * A tree as lines, for comparing: one an entry, sorted, with everything that must survive. Hard links show
 * the first path of their inode.
 */
export async function describeTree(
  root: DirectoryInode,
  readContent: (content: StoredContent) => AsyncIterable<Uint8Array>,
): Promise<string[]> {
  const lines: string[] = [];
  const firstPaths = new Map<Inode, string>();
  const waiting: [string, Inode][] = [["/", root]];
  for (let next = waiting.pop(); next; next = waiting.pop()) {
    const [path, inode] = next;
    const first = firstPaths.get(inode);
    if (first !== undefined) {
      lines.push(`${path} = ${first}`);
      continue;
    }
    firstPaths.set(inode, path);
    lines.push(`${path} ${describeAttributes(inode.attributes)} ${await describeBody(inode, readContent)}`);
    if (inode.kind !== "directory") continue;
    const names = [...inode.entries.keys()].sort().reverse();
    for (const name of names) waiting.push([`${path === "/" ? "" : path}/${name}`, inode.entries.get(name)!]);
  }
  return lines;
}

function describeAttributes({ mode, uid, gid, mtime, xattrs }: Attributes): string {
  const shown = [...xattrs].map(([name, value]) => `${name}=${[...value].join(".")}`).sort().join(",");
  return `${mode.toString(8)} ${uid}:${gid} ${showTime(mtime)} [${shown}]`;
}

function showTime({ seconds, nanoseconds }: Timestamp): string {
  return `${seconds}.${String(nanoseconds).padStart(9, "0")}`;
}

async function describeBody(
  inode: Inode,
  readContent: (content: StoredContent) => AsyncIterable<Uint8Array>,
): Promise<string> {
  if (inode.kind === "directory") return "directory";
  if (inode.kind === "symlink") return `-> ${inode.target}`;
  if (inode.kind !== "file") return `${inode.kind} ${inode.major}:${inode.minor}`;
  const hash = createHash("sha256");
  for await (const chunk of readContent(inode.content)) hash.update(chunk);
  return `file ${inode.content.sizeBytes} ${hash.digest("hex").slice(0, 16)}`;
}
