/** Replays archives into a tree with a sink in memory, and shows the tree as plain data. */
import assert from "node:assert/strict";
import { concatBytes } from "../../../lib/base/bytes.ts";
import { BangerError, type ErrorCode } from "../../../lib/base/errors.ts";
import {
  bytesOf,
  type ByteString,
  type ContentSink,
  type ContentWriter,
  type DirectoryInode,
  type Inode,
} from "../../../lib/base/tree.ts";
import { walkTree } from "../../../lib/base/tree_paths.ts";
import { type ReplayLimits, TreeBuilder } from "../../../lib/oci/replay/tree_builder.ts";
import { TarReader } from "../../../lib/oci/tar/reader.ts";
import { inPieces } from "./archive.ts";

/** Contents as tokens; refuses two contents at once, and counts those given back. */
export class MemorySink implements ContentSink {
  #isOpen = false;
  aborted = 0;

  begin(): ContentWriter {
    assert(!this.#isOpen, "a second content was begun before the first ended");
    this.#isOpen = true;
    const parts: Uint8Array[] = [];
    return {
      write: (chunk) => Promise.resolve(void parts.push(chunk.slice())),
      end: () => {
        this.#isOpen = false;
        const token = concatBytes(parts);
        return Promise.resolve({ sizeBytes: token.length, token });
      },
      abort: () => {
        this.#isOpen = false;
        this.aborted++;
        return Promise.resolve();
      },
    };
  }
}

export function textOf(inode: Inode | undefined): string {
  assert(inode?.kind === "file");
  return new TextDecoder().decode(inode.content.token as Uint8Array);
}

/** Paths with what is there: a file's content, `dir`, `-> target`, or a device; then a hard link's other path. */
export function shown(root: DirectoryInode): Record<string, string> {
  const tree: Record<string, string> = {};
  const firstPaths = new Map<Inode, string>();
  for (const { path, inode } of walkTree(root)) {
    if (path === "/") continue;
    const name = utf8(path.slice(1) as ByteString);
    const first = firstPaths.get(inode);
    firstPaths.set(inode, first ?? name);
    tree[name] = first === undefined ? shownInode(inode) : `= ${first}`;
  }
  return tree;
}

function shownInode(inode: Inode): string {
  switch (inode.kind) {
    case "file":
      return textOf(inode);
    case "directory":
      return "dir";
    case "symlink":
      return `-> ${utf8(inode.target)}`;
    default:
      return `${inode.kind} ${inode.major}:${inode.minor}`;
  }
}

function utf8(name: ByteString): string {
  return new TextDecoder().decode(bytesOf(name));
}

/** Applies layers, read in pieces of an awkward size. */
export async function replay(layers: readonly Uint8Array[], limits: Partial<ReplayLimits> = {}) {
  const sink = new MemorySink();
  const builder = new TreeBuilder(sink, limits);
  for (const layer of layers) await builder.applyLayer(new TarReader(inPieces(layer, 700)));
  return { root: builder.root, sink, builder };
}

export async function replayed(...layers: Uint8Array[]): Promise<Record<string, string>> {
  return shown((await replay(layers)).root);
}

/** Asserts a failure that a user can read: the code, and a part of the text. */
export async function rejectsWith(
  work: Promise<unknown>,
  code: ErrorCode,
  text: RegExp,
): Promise<void> {
  await assert.rejects(work, (failure) => {
    assert(failure instanceof BangerError, `no BangerError but ${failure}`);
    assert.equal(failure.code, code);
    assert.match(failure.message, text);
    return true;
  });
}
