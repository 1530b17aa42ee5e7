import assert from "node:assert/strict";
import { gzipSync } from "node:zlib";
import { moduleFiles } from "../../../lib/kernel/module_files.ts";
import {
  isModulePath,
  ModuleGraph,
  type ModuleInfo,
  moduleNameOf,
  normalizeAlias,
  parseBuiltinAliases,
  parseModule,
  unpackModule,
} from "../../../lib/kernel/modules.ts";
import { elfWithSection, kernelModule } from "./fixtures.ts";
import { isBanger } from "./support.ts";

function module(name: string, depends: readonly string[] = [], more: Partial<ModuleInfo> = {}): ModuleInfo {
  return { name, path: `kernel/${name}.ko`, depends, aliases: [], softDependencies: [], ...more };
}

const names = (modules: readonly ModuleInfo[]) => modules.map(({ name }) => name);

Deno.test("parseModule() reads .modinfo", () => {
  const bytes = kernelModule([
    "license=GPL",
    "depends=virtio,virtio-ring",
    "alias=virtio:d00000002v*",
    "alias=a=b",
    "softdep=pre: crc32c",
    "name=virtio_blk",
  ]);
  assert.deepEqual(parseModule("kernel/drivers/block/virtio-blk.ko.xz", bytes), {
    name: "virtio_blk",
    path: "kernel/drivers/block/virtio-blk.ko.xz",
    depends: ["virtio", "virtio_ring"],
    aliases: ["virtio:d00000002v*", "a=b"],
    softDependencies: ["pre: crc32c"],
  });
});

const cutTable = kernelModule(["depends="]);
for (
  const [name, bytes, message] of [
    ["an empty file", new Uint8Array(0), /no 64-bit ELF/],
    ["text", new TextEncoder().encode("x".repeat(100)), /no 64-bit ELF/],
    ["a file cut before its section table", cutTable.subarray(0, cutTable.length - 1), /outside the file/],
    ["a module without .modinfo", elfWithSection(".text", new Uint8Array(4)), /no \.modinfo/],
  ] as const
) {
  Deno.test(`parseModule() refuses ${name}`, () => {
    assert.throws(() => parseModule("kernel/a.ko", bytes), isBanger("corrupt_data", message));
  });
}

Deno.test("compressed modules are unpacked by their names", async () => {
  const bytes = kernelModule(["depends="]);
  assert.deepEqual(await unpackModule("a.ko.gz", gzipSync(bytes)), bytes);
  assert.equal(await unpackModule("a.ko", bytes), bytes);
  await assert.rejects(unpackModule("a.ko.gz", gzipSync(bytes).subarray(0, 30)), isBanger("corrupt_data"));
});

Deno.test("paths and names of modules", () => {
  assert.deepEqual(["a.ko", "a.ko.xz", "a.ko.zst", "a.ko.gz", "a.kox", "modules.dep"].map(isModulePath), [
    true,
    true,
    true,
    true,
    false,
    false,
  ]);
  assert.equal(moduleNameOf("kernel/drivers/char/hw_random/virtio-rng.ko.xz"), "virtio_rng");
  assert.equal(normalizeAlias("pci:v0-1[a-f]*-[0-9]"), "pci:v0_1[a-f]*_[0-9]");
});

Deno.test("loadOrder() puts everything after what it needs, once", () => {
  const graph = new ModuleGraph(
    [module("d", ["b", "c"]), module("c", ["a"]), module("b", ["a"]), module("a"), module("other")],
    [],
  );
  assert.deepEqual(names(graph.loadOrder(["d", "a"])), ["a", "b", "c", "d"]);
  assert.deepEqual(names(graph.dependenciesOf(graph.find("d")!)), ["c", "b", "a"]);
  assert.deepEqual(names(graph.loadOrder([])), []);
});

Deno.test("loadOrder() refuses what cannot be loaded", () => {
  const graph = new ModuleGraph([module("a", ["b"]), module("b", ["a"]), module("c", ["gone"])], []);
  assert.throws(() => graph.loadOrder(["a"]), isBanger("corrupt_data", /"a" needs itself/));
  assert.throws(
    () => graph.loadOrder(["c"]),
    isBanger("corrupt_data", /"gone", which "c" needs, is missing/),
  );
});

Deno.test("modules.order ranks modules, compressed or not", () => {
  const modules = [module("z"), module("y"), module("x", [], { path: "kernel/x.ko.xz" })];
  const graph = new ModuleGraph(modules, ["kernel/x.ko", "kernel/z.ko"]);
  assert.deepEqual(names(graph.modules), ["x", "z", "y"]);
});

Deno.test("parseBuiltinAliases() reads modules.builtin.modinfo", () => {
  const text = "ext4.license=GPL\0ext4.alias=fs-ext4\0crc-x.alias=a=b\0\0junk\0";
  assert.deepEqual(parseBuiltinAliases(text), [{ name: "ext4", alias: "fs-ext4" }, {
    name: "crc_x",
    alias: "a=b",
  }]);
});

Deno.test("moduleFiles() writes what depmod writes", () => {
  const graph = new ModuleGraph([
    module("fuse", [], { aliases: ["fs-fuse", "char-major-10-229", "devname:fuse"] }),
    module("cuse", ["fuse"], {
      aliases: ["char-major-10-203", "devname:cuse"],
      softDependencies: ["pre: x"],
    }),
    module("loop", [], { aliases: ["block-major-7-0"] }),
  ], ["kernel/fuse.ko", "kernel/cuse.ko", "kernel/loop.ko"]);
  const files = moduleFiles(graph, {
    order: "kernel/fuse.ko\n",
    builtin: "kernel/ext4.ko\n",
    builtinModinfo: "ext4.alias=fs-ext4\0",
  });
  const text = (name: string) => new TextDecoder().decode(files.get(name));
  assert.equal(text("modules.dep"), "kernel/fuse.ko:\nkernel/cuse.ko: kernel/fuse.ko\nkernel/loop.ko:\n");
  assert.match(text("modules.alias"), /^alias fs-fuse fuse$/m);
  assert.match(text("modules.softdep"), /^softdep cuse pre: x$/m);
  assert.equal(
    text("modules.devname").split("\n").slice(1).join("\n"),
    "fuse fuse c10:229\ncuse cuse c10:203\n",
  );
  assert.equal(text("modules.builtin"), "kernel/ext4.ko\n");
  for (const name of ["dep", "alias", "symbols", "builtin", "builtin.alias"]) {
    assert.equal(files.get(`modules.${name}.bin`)?.[0], 0xb0, name);
  }
});
