import { concatBytes } from "../base/bytes.ts";
import { bytesOf, byteStringOfText } from "../base/tree.ts";

/**
 * The binary index that kmod looks modules up in (`modules.dep.bin` and its siblings): a radix tree of byte
 * strings with values ordered by priority.
 *
 * Source: kmod libkmod/libkmod-index.h and tools/depmod.c, index_write()
 */
const MAGIC = 0xb007f457;
const VERSION = 0x00020001;
const HAS_PREFIX = 0x80000000;
const HAS_VALUES = 0x40000000;
const HAS_CHILDREN = 0x20000000;

interface Value {
  readonly priority: number;
  readonly text: string;
}

interface Node {
  prefix: string;
  readonly values: Value[];
  readonly children: Map<number, Node>;
}

/** Keys and values are ASCII without NUL; entries with other keys are left out, as depmod does. */
export class ModuleIndex {
  readonly #root: Node = { prefix: "", values: [], children: new Map() };

  insert(key: string, value: string, priority = 0): void {
    // deno-lint-ignore no-control-regex -- exactly the bytes that the format can hold
    if (!/^[\x01-\x7f]*$/.test(key)) return;
    let node = this.#root;
    let at = 0;
    for (;;) {
      let shared = 0;
      while (shared < node.prefix.length && node.prefix[shared] === key[at + shared]) shared++;
      if (shared < node.prefix.length) split(node, shared);
      at += shared;
      if (at === key.length) break;
      const branch = key.charCodeAt(at++);
      const child = node.children.get(branch);
      if (child === undefined) {
        const leaf: Node = { prefix: key.slice(at), values: [], children: new Map() };
        node.children.set(branch, leaf);
        node = leaf;
        break;
      }
      node = child;
    }
    insertValue(node.values, { priority, text: value });
  }

  serialize(): Uint8Array {
    const parts: Uint8Array[] = [new Uint8Array(12)];
    let length = 12;
    const write = (node: Node): number => {
      const branches = [...node.children.keys()].sort((a, b) => a - b);
      const offsets = new Map(branches.map((branch) => [branch, write(node.children.get(branch)!)]));
      const bytes = serializeNode(node, branches, offsets);
      const offset = length;
      parts.push(bytes);
      length += bytes.length;
      return (offset | (node.prefix === "" ? 0 : HAS_PREFIX) | (branches.length === 0 ? 0 : HAS_CHILDREN) |
        (node.values.length === 0 ? 0 : HAS_VALUES)) >>> 0;
    };
    const root = write(this.#root);
    const header = new DataView(parts[0]!.buffer);
    header.setUint32(0, MAGIC);
    header.setUint32(4, VERSION);
    header.setUint32(8, root);
    return concatBytes(parts);
  }
}

/** Cuts a node after `shared` characters of its prefix; what is below moves into a new child. */
function split(node: Node, shared: number): void {
  const lower: Node = {
    prefix: node.prefix.slice(shared + 1),
    values: [...node.values],
    children: new Map(node.children),
  };
  const branch = node.prefix.charCodeAt(shared);
  node.prefix = node.prefix.slice(0, shared);
  node.values.length = 0;
  node.children.clear();
  node.children.set(branch, lower);
}

/** Ascending by priority; of equal ones the newest first. */
function insertValue(values: Value[], value: Value): void {
  const at = values.findIndex(({ priority }) => priority >= value.priority);
  values.splice(at < 0 ? values.length : at, 0, value);
}

function serializeNode(
  node: Node,
  branches: readonly number[],
  offsets: ReadonlyMap<number, number>,
): Uint8Array {
  const parts: Uint8Array[] = [];
  if (node.prefix !== "") parts.push(cString(node.prefix));
  const first = branches[0];
  const last = branches.at(-1);
  if (first !== undefined && last !== undefined) {
    const table = new DataView(new ArrayBuffer(2 + (last - first + 1) * 4));
    table.setUint8(0, first);
    table.setUint8(1, last);
    for (const [branch, offset] of offsets) table.setUint32(2 + (branch - first) * 4, offset);
    parts.push(new Uint8Array(table.buffer));
  }
  if (node.values.length > 0) {
    parts.push(bigEndian(node.values.length));
    for (const { priority, text } of node.values) parts.push(bigEndian(priority), cString(text));
  }
  return concatBytes(parts);
}

function bigEndian(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value);
  return bytes;
}

function cString(text: string): Uint8Array {
  return bytesOf(byteStringOfText(`${text}\0`));
}
