import assert from "node:assert/strict";
import { parseKernelName } from "../../../lib/base/names.ts";
import { walkTree } from "../../../lib/base/tree_paths.ts";
import { parseCatalog } from "../../../lib/kernel/catalog.ts";
import { kernelImageVersion } from "../../../lib/kernel/image_version.ts";
import { KernelStore } from "../../../lib/kernel/store.ts";
import { realHost } from "../../../lib/sys/host.ts";
import { unmetOptions } from "../../../scripts/kernel/build.ts";
import { bzImage, elfExecutable, KERNEL_VERSION, kernelPackageFiles } from "./fixtures.ts";
import {
  inTemporaryDirectory,
  isBanger,
  NEVER,
  ports,
  RecordedProgress,
  recordingDiskBuilder,
} from "./support.ts";

const MINE = parseKernelName("mine");

async function withDirectory(
  body: (place: {
    directory: string;
    store: KernelStore;
    builder: ReturnType<typeof recordingDiskBuilder>;
    put: (path: string, content: string | Uint8Array) => Promise<void>;
  }) => Promise<void>,
): Promise<void> {
  await inTemporaryDirectory(async (root) => {
    const directory = `${root}/a kernel ü`;
    await Deno.mkdir(directory);
    const builder = recordingDiskBuilder();
    const places = { kernelsDirectory: `${root}/kernels`, cacheDirectory: `${root}/cache` };
    // A static busybox, whatever this host has.
    const busybox = `${root}/busybox`;
    await Deno.writeFile(busybox, elfExecutable());
    const host = realHost();
    const processes = { ...host.processes, which: () => Promise.resolve(busybox) };
    await body({
      directory,
      builder,
      store: new KernelStore({ ...host, processes }, places, ports(builder)),
      async put(path, content) {
        const target = `${directory}/${path}`;
        await Deno.mkdir(target.slice(0, target.lastIndexOf("/")), { recursive: true });
        if (typeof content === "string") await Deno.writeTextFile(target, content);
        else await Deno.writeFile(target, content);
      },
    });
  });
}

const importFrom = (store: KernelStore, directory: string) =>
  store.import(MINE, { directory }, new RecordedProgress(), NEVER);

async function putPackage(put: (path: string, content: string | Uint8Array) => Promise<void>): Promise<void> {
  for (const { path, content, type = "0" } of kernelPackageFiles()) {
    const place = path.replace(/^\.\//, "").replace(/^boot\//, "");
    if (type === "0" && content !== undefined) await put(place, content);
  }
}

Deno.test("import() from a directory finds kernel and modules by their names", () =>
  withDirectory(async ({ directory, store, builder, put }) => {
    await putPackage(put);
    await put("initrd.img-6.1", "somebody else's");
    await put("config", "CONFIG_HZ_100=y\nCONFIG_HZ=100\n");
    const kernel = await importFrom(store, directory);
    assert.equal(kernel.version, KERNEL_VERSION);
    assert.equal(kernel.source, directory);
    assert.equal(kernel.timerHz, 100);
    assert.equal(kernel.distribution, "unknown");
    assert.ok([...walkTree(builder.trees[0]!)].some(({ path }) => path.endsWith(".ko")));
  }));

Deno.test("import() follows metadata.json, and no symbolic link", () =>
  withDirectory(async ({ directory, store, put }) => {
    await put("out/Kernel", elfExecutable());
    await put("mods/6.9-x/modules.builtin", "");
    await put(
      "metadata.json",
      JSON.stringify({
        kernel: "out/Kernel",
        modules: "mods/6.9-x",
        distribution: "mine",
        source: "by hand",
      }),
    );
    await Deno.symlink("/etc/passwd", `${directory}/mods/6.9-x/passwd`);
    const kernel = await importFrom(store, directory);
    // Neither modules nor lists that name drivers: taken at its word.
    assert.equal(kernel.version, "6.9-x");
    assert.equal(kernel.source, "by hand");
  }));

Deno.test("import() of one kernel file reads its version from it", () =>
  withDirectory(async ({ directory, store, put }) => {
    const image = elfExecutable({ sizeBytes: 8192 });
    image.set(new TextEncoder().encode("Linux version 6.9.1-tiny (me@here)"), 6000);
    await put("vmlinux", image);
    const origin = { vmlinux: `${directory}/vmlinux` };
    const kernel = await store.import(MINE, origin, new RecordedProgress(), NEVER);
    assert.equal(kernel.version, "6.9.1-tiny");
    assert.equal(kernelImageVersion(bzImage(elfExecutable())) ?? "none", "none");
  }));

Deno.test("import() refuses directories that it cannot understand, and says what to do", () =>
  withDirectory(async ({ directory, store, put }) => {
    const refuses = async (message: RegExp) => {
      await assert.rejects(importFrom(store, directory), isBanger("invalid_argument", message));
      assert.deepEqual(await store.list(), []);
    };
    await refuses(/it has no kernel/);
    await Deno.symlink("/boot/vmlinuz", `${directory}/vmlinux`);
    await refuses(/it is no file/);
    await Deno.remove(`${directory}/vmlinux`);
    await put("vmlinuz-1", "a");
    await put("vmlinuz-2", "b");
    await refuses(/more than one kernel: "vmlinuz-1", "vmlinuz-2"/);
    await put("metadata.json", "{");
    await refuses(/no JSON/);
    await put("metadata.json", '{"kernel": "../../etc/shadow"}');
    await refuses(/must lie inside/);
    await put("metadata.json", '{"kernel": "vmlinuz-1", "colour": 1}');
    await refuses(/colour/);
    await put("metadata.json", '{"kernel": "vmlinuz-1"}');
    await put("lib/modules/1/modules.order", "");
    await put("lib/modules/2/modules.order", "");
    await refuses(/modules for several kernels/);
    await assert.rejects(
      importFrom(store, `${directory}/nowhere`),
      isBanger("invalid_argument", /no directory/),
    );
  }));

Deno.test("import() refuses a kernel that is none, for another processor, without a PVH entry", () =>
  withDirectory(async ({ directory, store, put }) => {
    await put("lib/modules/6/modules.order", "");
    for (
      const [content, code, message] of [
        ["nothing", "corrupt_data", /too short/],
        [elfExecutable({ machine: 183 }), "host_unsupported", /another processor/],
        [elfExecutable({ notes: [] }), "host_unsupported", /PVH/],
      ] as const
    ) {
      await put("vmlinux", content);
      await assert.rejects(importFrom(store, directory), isBanger(code, message));
    }
  }));

Deno.test("parseCatalog() refuses unknown keys, wrong digests, names out of order", () => {
  const entry = {
    name: "a",
    distribution: "x",
    architecture: "x86_64",
    description: "d",
    source: { url: "https://a.test/b", sha256: "0".repeat(64), sizeBytes: 1 },
  };
  assert.equal(parseCatalog([entry, { ...entry, name: "b" }]).length, 2);
  assert.equal(parseCatalog([{ ...entry, architecture: "aarch64" }, entry]).length, 2);
  for (
    const bad of [
      "text",
      [{ ...entry, colour: 1 }],
      [{ ...entry, architecture: "sparc" }],
      [{ ...entry, source: { ...entry.source, url: "ftp://a.test/b" } }],
      [{ ...entry, source: { ...entry.source, sha256: "abc" } }],
      [{ ...entry, source: { ...entry.source, extra: 1 } }],
      [{ ...entry, name: "b" }, entry],
      [entry, entry],
      [entry, { ...entry, architecture: "aarch64" }],
    ]
  ) {
    assert.throws(() => parseCatalog(bad), isBanger("corrupt_data"));
  }
});

Deno.test("unmetOptions() names what a configuration lacks", () => {
  const fragment = '# a comment\nCONFIG_A=y\nCONFIG_B="x"\n# CONFIG_C is not set\n';
  assert.deepEqual(unmetOptions(fragment, 'CONFIG_A=y\nCONFIG_B="x"\n'), []);
  assert.deepEqual(unmetOptions(fragment, "# CONFIG_A is not set\nCONFIG_C=y\n"), [
    "CONFIG_A=y",
    'CONFIG_B="x"',
    "# CONFIG_C is not set",
  ]);
});
