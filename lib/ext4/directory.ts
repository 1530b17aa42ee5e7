import { BangerError } from "../base/errors.ts";
import type { ByteString } from "../base/tree.ts";
import { roundUp, viewOf } from "./bytes.ts";
import { crc32c } from "./crc32c.ts";
import { BLOCK_SIZE, ENTRY_TYPE, ENTRY_TYPE_CHECKSUM } from "./format.ts";
import { HASH_HALF_MD4, hashName, type NameHash } from "./name_hash.ts";

export interface DirectoryEntry {
  readonly name: ByteString;
  readonly inodeNumber: number;
  /** `ENTRY_TYPE` */
  readonly type: number;
}

/** What a directory's blocks depend on besides its entries. */
export interface DirectoryContext {
  readonly inodeNumber: number;
  readonly parentInodeNumber: number;
  /** See `inodeChecksumSeed`. */
  readonly checksumSeed: number;
  /** `s_hash_seed` as words. */
  readonly hashSeed: Uint32Array;
  /** A directory without index gets at least so many blocks. */
  readonly minBlocks: number;
}

export interface DirectoryBlocks {
  /** Each is valid until the next is asked for. */
  readonly blocks: Iterable<Uint8Array>;
  readonly blockCount: number;
  /** Whether it has an index (the inode's INDEX flag). */
  readonly indexed: boolean;
}

const TAIL_BYTES = 12;
const LEAF_BYTES = BLOCK_SIZE - TAIL_BYTES;
/** Leaves and inner nodes of an index are left a fifth empty, as e2fsck -D does: new names need room. */
const LEAF_FILL_BYTES = Math.floor(LEAF_BYTES * 0.8);
const ROOT_HEADER_BYTES = 32;
const NODE_HEADER_BYTES = 8;
const INDEX_TAIL_BYTES = 8;
const ROOT_LIMIT = (BLOCK_SIZE - ROOT_HEADER_BYTES - INDEX_TAIL_BYTES) / 8;
const NODE_LIMIT = (BLOCK_SIZE - NODE_HEADER_BYTES - INDEX_TAIL_BYTES) / 8;
const NODE_FILL = Math.floor(NODE_LIMIT * 0.8);

function entryBytes(nameLength: number): number {
  return roundUp(8 + nameLength, 4);
}

/** `.` and `..` */
const DOTS_BYTES = 24;

/**
 * At most so many blocks will a directory take.
 *
 * @param entriesBytes sum of `directoryEntryBytes` over its entries
 */
export function maxDirectoryBlocks(entriesBytes: number): number {
  if (DOTS_BYTES + entriesBytes <= LEAF_BYTES) return 1;
  const leaves = Math.ceil(entriesBytes / (LEAF_FILL_BYTES - entryBytes(255))) + 1;
  return 2 + leaves + Math.ceil(leaves / NODE_FILL);
}

export function directoryEntryBytes(name: ByteString): number {
  return entryBytes(name.length);
}

/**
 * Lays out a directory: one block while everything fits, else an index by hash over sorted leaves.
 *
 * @param entries sorted by name, without `.` and `..`
 * @throws {BangerError} `no_space` beyond what two index levels hold
 */
export function buildDirectory(
  entries: readonly DirectoryEntry[],
  context: DirectoryContext,
): DirectoryBlocks {
  let bytes = DOTS_BYTES;
  for (const entry of entries) bytes += entryBytes(entry.name.length);
  if (bytes <= LEAF_BYTES) {
    return { blocks: linearBlocks(entries, context), blockCount: context.minBlocks, indexed: false };
  }
  const leaves = splitIntoLeaves(entries, context.hashSeed);
  const nodeCount = indexNodeCount(leaves.length);
  return {
    blocks: indexedBlocks(leaves, nodeCount, context),
    blockCount: 1 + nodeCount + leaves.length,
    indexed: true,
  };
}

/**
 * Inner nodes between the root and so many leaves.
 *
 * @throws {BangerError} `no_space` beyond what two levels hold: a third needs a feature (large_dir)
 * Exported for tests.
 */
export function indexNodeCount(leafCount: number): number {
  if (leafCount <= ROOT_LIMIT) return 0;
  const count = Math.ceil(leafCount / NODE_FILL);
  if (count <= ROOT_LIMIT) return count;
  throw new BangerError(
    "no_space",
    `Cannot store a directory of ${leafCount} blocks: its index would need a third level`,
    "Spread its entries over several directories",
  );
}

function* linearBlocks(entries: readonly DirectoryEntry[], context: DirectoryContext): Generator<Uint8Array> {
  const leaf = new LeafWriter(context.checksumSeed);
  leaf.add({ name: "." as ByteString, inodeNumber: context.inodeNumber, type: ENTRY_TYPE.directory });
  leaf.add({ name: ".." as ByteString, inodeNumber: context.parentInodeNumber, type: ENTRY_TYPE.directory });
  for (const entry of entries) leaf.add(entry);
  yield leaf.finish();
  for (let i = 1; i < context.minBlocks; i++) yield leaf.finish();
}

/** Fills one block after another with entries. */
class LeafWriter {
  readonly #block = new Uint8Array(BLOCK_SIZE);
  readonly #view = viewOf(this.#block);
  readonly #checksumSeed: number;
  #end = 0;
  #lastStart = 0;

  constructor(checksumSeed: number) {
    this.#checksumSeed = checksumSeed;
  }

  add({ name, inodeNumber, type }: DirectoryEntry): void {
    if (this.#end === 0) this.#block.fill(0);
    const block = this.#block;
    const at = this.#end;
    const size = entryBytes(name.length);
    this.#view.setUint32(at, inodeNumber, true);
    this.#view.setUint16(at + 4, size, true);
    block[at + 6] = name.length;
    block[at + 7] = type;
    for (let i = 0; i < name.length; i++) block[at + 8 + i] = name.charCodeAt(i);
    this.#lastStart = at;
    this.#end = at + size;
  }

  /** The last entry takes all that is left; a fake one holds the checksum. */
  finish(): Uint8Array {
    const view = this.#view;
    if (this.#end === 0) this.#block.fill(0);
    view.setUint16(this.#lastStart + 4, LEAF_BYTES - this.#lastStart, true);
    view.setUint16(LEAF_BYTES + 4, TAIL_BYTES, true);
    view.setUint8(LEAF_BYTES + 7, ENTRY_TYPE_CHECKSUM);
    view.setUint32(LEAF_BYTES + 8, crc32c(this.#checksumSeed, this.#block.subarray(0, LEAF_BYTES)), true);
    this.#end = 0;
    this.#lastStart = 0;
    return this.#block;
  }
}

interface Leaf {
  readonly entries: readonly DirectoryEntry[];
  /** Of the first entry; the lowest bit says that the leaf before ends with the same hash. */
  readonly hash: number;
}

function splitIntoLeaves(entries: readonly DirectoryEntry[], hashSeed: Uint32Array): Leaf[] {
  const hashed = entries.map((entry): [NameHash, DirectoryEntry] => [hashName(entry.name, hashSeed), entry]);
  // The sort is stable, so names with equal hashes stay in the order of names.
  hashed.sort(([a], [b]) => a.major - b.major || a.minor - b.minor);
  const leaves: Leaf[] = [];
  let current: DirectoryEntry[] = [];
  let bytes = 0;
  let hash = 0;
  let before = -1;
  for (const [{ major }, entry] of hashed) {
    const size = entryBytes(entry.name.length);
    if (bytes + size > LEAF_FILL_BYTES) {
      leaves.push({ entries: current, hash });
      current = [];
      bytes = 0;
      hash = major === before ? major | 1 : major;
    }
    current.push(entry);
    bytes += size;
    before = major;
  }
  leaves.push({ entries: current, hash });
  return leaves;
}

/** Root, then inner nodes if there are any, then leaves. */
function* indexedBlocks(
  leaves: readonly Leaf[],
  nodeCount: number,
  context: DirectoryContext,
): Generator<Uint8Array> {
  const firstLeaf = 1 + nodeCount;
  const pointers = leaves.map(({ hash }, i) => ({ hash: hash >>> 0, block: firstLeaf + i }));
  const nodes: typeof pointers[] = [];
  for (let i = 0; i < nodeCount; i++) nodes.push(pointers.slice(i * NODE_FILL, (i + 1) * NODE_FILL));
  const top = nodeCount > 0 ? nodes.map((node, i) => ({ hash: node[0]!.hash, block: 1 + i })) : pointers;
  yield indexRoot(top, nodeCount > 0 ? 1 : 0, context);
  for (const node of nodes) yield indexNode(node, context.checksumSeed);
  const leafWriter = new LeafWriter(context.checksumSeed);
  for (const leaf of leaves) {
    for (const entry of leaf.entries) leafWriter.add(entry);
    yield leafWriter.finish();
  }
}

/** To code that knows no index, the root looks like a block with `.` and `..` only. */
function indexRoot(
  pointers: readonly { hash: number; block: number }[],
  levels: number,
  context: DirectoryContext,
): Uint8Array {
  const block = new Uint8Array(BLOCK_SIZE);
  const view = viewOf(block);
  const dot = (at: number, inodeNumber: number, size: number, length: number) => {
    view.setUint32(at, inodeNumber, true);
    view.setUint16(at + 4, size, true);
    view.setUint8(at + 6, length);
    view.setUint8(at + 7, ENTRY_TYPE.directory);
    block.fill(0x2e, at + 8, at + 8 + length);
  };
  dot(0, context.inodeNumber, 12, 1);
  dot(12, context.parentInodeNumber, BLOCK_SIZE - 12, 2);
  view.setUint8(0x1c, HASH_HALF_MD4);
  view.setUint8(0x1d, 8); // info_length
  view.setUint8(0x1e, levels);
  putPointers(block, ROOT_HEADER_BYTES, ROOT_LIMIT, pointers, context.checksumSeed);
  return block;
}

/** To code that knows no index, a node looks like an empty block. */
function indexNode(pointers: readonly { hash: number; block: number }[], checksumSeed: number): Uint8Array {
  const block = new Uint8Array(BLOCK_SIZE);
  viewOf(block).setUint16(4, BLOCK_SIZE, true);
  putPointers(block, NODE_HEADER_BYTES, NODE_LIMIT, pointers, checksumSeed);
  return block;
}

/** The first pointer's hash is implied; limit and count take its place. The checksum skips free slots. */
function putPointers(
  block: Uint8Array,
  start: number,
  limit: number,
  pointers: readonly { hash: number; block: number }[],
  checksumSeed: number,
): void {
  const view = viewOf(block);
  pointers.forEach((pointer, i) => {
    view.setUint32(start + i * 8, pointer.hash, true);
    view.setUint32(start + i * 8 + 4, pointer.block, true);
  });
  view.setUint16(start, limit, true);
  view.setUint16(start + 2, pointers.length, true);
  const used = crc32c(checksumSeed, block.subarray(0, start + pointers.length * 8));
  view.setUint32(BLOCK_SIZE - 4, crc32c(used, new Uint8Array(8)), true);
}
