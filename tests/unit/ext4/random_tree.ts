import {
  type Attributes,
  type ByteString,
  byteString,
  type ContentSink,
  type DirectoryInode,
  type FileInode,
  type Inode,
} from "../../../lib/base/tree.ts";
import { attributes, randomBytes, store } from "./support.ts";

/**
 * Grows a tree of all kinds of inodes, the same for the same random numbers.
 *
 * @param entries about how many
 */
export async function growRandomTree(
  random: () => number,
  root: DirectoryInode,
  sink: ContentSink,
  entries: number,
): Promise<void> {
  const directories = [root];
  const files: FileInode[] = [];
  const below = (limit: number) => Math.floor(random() * limit);
  for (let i = 0; i < entries; i++) {
    // Recent directories are likelier, so that some get deep and some large.
    const parent = directories[Math.max(0, directories.length - 1 - below(6))]!;
    const name = randomName(below, i);
    const inode = await randomInode(below, sink, files);
    parent.entries.set(name, inode);
    if (inode.kind === "directory") directories.push(inode);
    if (inode.kind === "file" && !files.includes(inode)) files.push(inode);
  }
}

type Below = (limit: number) => number;

/** Any bytes but slash and zero, sometimes as long as can be; `i` keeps names apart. */
function randomName(below: Below, i: number): ByteString {
  const tail = `-${i}`;
  const length = below(10) === 0 ? 255 - tail.length : 1 + below(30);
  const bytes = Uint8Array.from({ length }, () => {
    const byte = 1 + below(255);
    return byte === 0x2f ? 0x5f : byte;
  });
  return byteString(bytes) + tail as ByteString;
}

function randomAttributes(below: Below): Attributes {
  const xattrs = new Map<string, Uint8Array>();
  const bytes = (length: number) => Uint8Array.from({ length }, () => below(256));
  if (below(8) === 0) xattrs.set("user.small", bytes(below(20)));
  if (below(16) === 0) xattrs.set("security.capability", bytes(20));
  if (below(16) === 0) xattrs.set(`user.${"n".repeat(1 + below(100))}`, bytes(below(2000)));
  if (below(16) === 0) xattrs.set("trusted.same", new Uint8Array(300).fill(7));
  return attributes({
    mode: below(0o10000),
    uid: below(4) === 0 ? below(2 ** 32) : below(3) * 1000,
    gid: below(4) === 0 ? below(2 ** 32) : below(3) * 1000,
    mtime: { seconds: below(2 ** 33 + 2 ** 32) - 2 ** 31, nanoseconds: below(1_000_000_000) },
    xattrs,
  });
}

async function randomInode(below: Below, sink: ContentSink, files: readonly FileInode[]): Promise<Inode> {
  const made = randomAttributes(below);
  switch (below(12)) {
    case 0:
    case 1:
      return { kind: "directory", attributes: made, entries: new Map() };
    case 2: {
      const length = 1 + below(below(2) === 0 ? 100 : 4000);
      const target = byteString(Uint8Array.from({ length }, () => 1 + below(255)));
      return { kind: "symlink", attributes: made, target };
    }
    case 3:
      return { kind: "character-device", attributes: made, major: below(4096), minor: below(2 ** 20) };
    case 4:
      return { kind: "block-device", attributes: made, major: below(256), minor: below(256) };
    case 5:
      return { kind: below(2) === 0 ? "fifo" : "socket", attributes: made, major: 0, minor: 0 };
    case 6:
      if (files.length > 0) return files[below(files.length)]!;
      break;
  }
  return { kind: "file", attributes: made, content: await randomContent(below, sink) };
}

/** Runs of data and of zeros, written in chunks of any size. */
async function randomContent(below: Below, sink: ContentSink) {
  const chunks: Uint8Array[] = [];
  const runs = below(5);
  for (let i = 0; i < runs; i++) {
    const length = below(below(3) === 0 ? 120_000 : 5000);
    chunks.push(below(3) === 0 ? new Uint8Array(length) : randomBytes(() => below(1000) / 1000, length));
  }
  return await store(sink, chunks);
}
