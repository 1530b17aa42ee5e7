import assert from "node:assert/strict";
import { BangerError } from "../../../lib/base/errors.ts";
import { encodeOverlay } from "../../../lib/vmm/qcow2.ts";

const CLUSTER = 65536;
const GIB = 2 ** 30;

Deno.test("encodeOverlay() writes the header that QEMU's specification describes", () => {
  const bytes = encodeOverlay({ backingPath: "/images/a/rootfs.ext4", virtualSizeBytes: 10 * GIB });
  const view = new DataView(bytes.buffer);
  assert.equal(new TextDecoder("latin1").decode(bytes.subarray(0, 4)), "QFI\xfb");
  assert.equal(view.getUint32(4), 3, "version");
  assert.equal(view.getUint32(20), 16, "cluster_bits");
  assert.equal(view.getBigUint64(24), BigInt(10 * GIB), "size");
  assert.equal(view.getUint32(36), 20, "l1_size: one entry for each 512 MiB");
  assert.equal(view.getBigUint64(40), BigInt(3 * CLUSTER), "l1_table_offset");
  assert.equal(view.getBigUint64(48), BigInt(CLUSTER), "refcount_table_offset");
  assert.equal(view.getUint32(56), 1, "refcount_table_clusters");
  for (const offset of [72, 80, 88]) assert.equal(view.getBigUint64(offset), 0n, "feature bits");
  assert.equal(view.getUint32(96), 4, "refcount_order");
  assert.equal(view.getUint32(100), 104, "header_length");
  const nameAt = Number(view.getBigUint64(8));
  const name = bytes.subarray(nameAt, nameAt + view.getUint32(16));
  assert.equal(new TextDecoder().decode(name), "/images/a/rootfs.ext4");
  assert.equal(view.getUint32(104), 0xe2792aca, "backing format extension");
  assert.equal(new TextDecoder().decode(bytes.subarray(112, 112 + view.getUint32(108))), "raw");
  assert.equal(view.getBigUint64(120), 0n, "end of extensions");
});

Deno.test("encodeOverlay() counts each of its own clusters once, and no other", () => {
  const bytes = encodeOverlay({ backingPath: "/r", virtualSizeBytes: GIB });
  const view = new DataView(bytes.buffer);
  assert.equal(bytes.length, 4 * CLUSTER);
  assert.equal(view.getBigUint64(CLUSTER), BigInt(2 * CLUSTER), "refcount block");
  const counts = Array.from({ length: 8 }, (_, cluster) => view.getUint16(2 * CLUSTER + cluster * 2));
  assert.deepEqual(counts, [1, 1, 1, 1, 0, 0, 0, 0]);
  assert.ok(bytes.subarray(3 * CLUSTER).every((byte) => byte === 0), "L1 table: everything from below");
});

const REFUSED = [
  ["a relative path", "images/rootfs.ext4", GIB],
  ["a path with NUL", "/a\0b", GIB],
  ["a path over 1023 bytes", `/${"ä".repeat(512)}`, GIB],
  ["no size", "/r", 0],
  ["half a sector", "/r", 1000],
  ["a fraction", "/r", 512.5],
  ["more than any disk", "/r", 2 ** 51],
] as const;

for (const [what, backingPath, virtualSizeBytes] of REFUSED) {
  Deno.test(`encodeOverlay() refuses ${what}`, () => {
    assert.throws(() => encodeOverlay({ backingPath, virtualSizeBytes }), BangerError);
  });
}
