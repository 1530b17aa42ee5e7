import assert from "node:assert/strict";
import { ModuleIndex } from "../../../lib/kernel/module_index.ts";

/** An independent reading of the format: every key with its values, from the bytes alone. */
function entriesOf(bytes: Uint8Array): Map<string, string[]> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  assert.equal(view.getUint32(0), 0xb007f457);
  assert.equal(view.getUint32(4), 0x00020001);
  const found = new Map<string, string[]>();
  const cString = (at: number) => {
    const end = bytes.indexOf(0, at);
    return { text: new TextDecoder().decode(bytes.subarray(at, end)), next: end + 1 };
  };
  const visit = (reference: number, prefix: string) => {
    let at = reference & 0x0fffffff;
    let key = prefix;
    if (reference & 0x80000000) {
      const { text, next } = cString(at);
      key += text;
      at = next;
    }
    if (reference & 0x20000000) {
      const [first, last] = [bytes[at]!, bytes[at + 1]!];
      at += 2;
      for (let branch = first; branch <= last; branch++, at += 4) {
        const child = view.getUint32(at);
        if (child !== 0) visit(child, key + String.fromCharCode(branch));
      }
    }
    if (reference & 0x40000000) {
      const values: string[] = [];
      let left = view.getUint32(at);
      for (at += 4; left > 0; left--) {
        const priority = view.getUint32(at);
        const { text, next } = cString(at + 4);
        values.push(`${priority}:${text}`);
        at = next;
      }
      found.set(key, values);
    }
  };
  visit(view.getUint32(8), "");
  return found;
}

Deno.test("every key is found with its values by priority", () => {
  const index = new ModuleIndex();
  const expected = new Map<string, string[]>();
  const keys = [
    "virtio",
    "virtio_blk",
    "virtio_net",
    "vi",
    "v",
    "",
    "zram",
    "virtio_blkx",
    "pci:v*d[0-9]*",
    "~",
  ];
  for (const [at, key] of keys.entries()) {
    index.insert(key, `value of ${key}`, at);
    expected.set(key, [`${at}:value of ${key}`]);
  }
  assert.deepEqual([...entriesOf(index.serialize())].sort(), [...expected].sort());
});

Deno.test("values of one key are ordered by priority", () => {
  const index = new ModuleIndex();
  index.insert("a", "last", 9);
  index.insert("a", "first", 1);
  index.insert("a", "middle", 5);
  assert.deepEqual(entriesOf(index.serialize()).get("a"), ["1:first", "5:middle", "9:last"]);
});

Deno.test("keys that the format cannot hold are left out", () => {
  const index = new ModuleIndex();
  index.insert("ä", "x");
  index.insert("a\0b", "x");
  index.insert("ok", "x");
  assert.deepEqual([...entriesOf(index.serialize()).keys()], ["ok"]);
});

Deno.test("many random keys survive", () => {
  let seed = 7;
  const random = () => seed = (seed * 1103515245 + 12345) % 2147483648;
  const index = new ModuleIndex();
  const expected = new Set<string>();
  for (let count = 0; count < 2000; count++) {
    const key = Array.from({ length: random() % 6 }, () => "abc-"[random() % 4]).join("");
    expected.add(key);
    index.insert(key, key);
  }
  assert.deepEqual([...entriesOf(index.serialize()).keys()].sort(), [...expected].sort());
});
