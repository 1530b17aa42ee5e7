import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { gzipSync } from "node:zlib";
import { bytesOf, type DirectoryInode } from "../../../lib/base/tree.ts";
import { walkTree } from "../../../lib/base/tree_paths.ts";
import type { Host } from "../../../lib/base/host.ts";
import { parseKernelName } from "../../../lib/base/names.ts";
import { kernelFiles } from "../../../lib/kernel/manifest.ts";
import { initramfsRevision } from "../../../lib/kernel/initramfs.ts";
import { KernelStore } from "../../../lib/kernel/store.ts";
import { realHost } from "../../../lib/sys/host.ts";
import {
  BUSYBOX_CONTROL,
  bzImage,
  deb,
  elfExecutable,
  KERNEL_CONTROL,
  KERNEL_VERSION,
  kernelModule,
  kernelPackageFiles,
  type TarMember,
} from "./fixtures.ts";
import {
  inTemporaryDirectory,
  isBanger,
  NEVER,
  ports,
  RecordedProgress,
  recordingDiskBuilder,
} from "./support.ts";

const MINE = parseKernelName("mine");

interface Place {
  readonly directory: string;
  readonly kernelsDirectory: string;
  readonly store: KernelStore;
  readonly trees: DirectoryInode[];
  /** Writes packages and gives their paths. */
  readonly packages: (
    files?: readonly TarMember[],
    control?: Readonly<Record<string, string>>,
  ) => Promise<string[]>;
}

async function withStore(
  body: (place: Place) => Promise<void>,
  change: (host: Host, directory: string) => Host = (host) => host,
) {
  await inTemporaryDirectory(async (directory) => {
    const build = recordingDiskBuilder();
    const kernelsDirectory = `${directory}/kernels`;
    const places = { kernelsDirectory, cacheDirectory: `${directory}/cache` };
    await body({
      directory,
      kernelsDirectory,
      store: new KernelStore(change(realHost(), directory), places, ports(build)),
      trees: build.trees,
      packages: async (files = kernelPackageFiles(), control = KERNEL_CONTROL) => {
        const paths = [`${directory}/kernel.deb`, `${directory}/busybox.deb`];
        await Deno.writeFile(paths[0]!, deb(control, files));
        await Deno.writeFile(
          paths[1]!,
          deb(BUSYBOX_CONTROL, [{ path: "./bin/busybox", content: "busybox" }]),
        );
        return paths;
      },
    });
  });
}

/** What stands in the kernels directory besides lock files. */
async function residue(kernelsDirectory: string): Promise<string[]> {
  const names = (await Array.fromAsync(Deno.readDir(kernelsDirectory))).map(({ name }) => name);
  return names.filter((name) => !name.endsWith(".lock")).sort();
}

Deno.test("import() makes a kernel: manifest, vmlinux, initramfs, modules disk", async () => {
  await withStore(async ({ store, packages, trees, kernelsDirectory }) => {
    const progress = new RecordedProgress();
    const config = { path: `./boot/config-${KERNEL_VERSION}`, content: "CONFIG_HZ=250\n" };
    const debs = await packages([config, ...kernelPackageFiles()]);
    const kernel = await store.import(MINE, { debs: debs.reverse() }, progress, NEVER);
    assert.equal(kernel.timerHz, 250);
    assert.equal(kernel.version, KERNEL_VERSION);
    assert.equal(kernel.distribution, "debian");
    assert.equal(kernel.source, `linux-image-${KERNEL_VERSION} 6.1.1-1`);
    assert.match(kernel.createdAt, /^\d{4}-\d\d-\d\dT/);
    assert.deepEqual(await Deno.readFile(kernel.vmlinuxPath), elfExecutable());
    assert.equal(await Deno.readTextFile(kernel.modulesDiskPath), "a modules disk");
    assert.match(await Deno.readTextFile(kernel.initramfsPath), /banger-init/);
    assert.deepEqual(progress.stages, [
      "read kernel",
      "unpack kernel",
      "make initramfs",
      "write modules disk",
    ]);
    const files = [...walkTree(trees[0]!)].flatMap(({ path, inode }) => inode.kind === "file" ? [path] : []);
    assert.ok(files.includes("/kernel/drivers/block/virtio_blk.ko" as typeof files[0]), files.join());
    assert.ok(files.includes("/modules.dep.bin" as typeof files[0]), files.join());
    assert.deepEqual(await residue(kernelsDirectory), ["mine"]);
    const names = [...Deno.readDirSync(kernel.directory)].map(({ name }) => name).sort();
    assert.deepEqual(names, ["initramfs.cpio", "manifest.json", "modules.ext4", "vmlinux"]);
    assert.deepEqual(await store.get(MINE), kernel);
    assert.deepEqual(await store.list(), [kernel]);
  });
});

Deno.test("modules reach the disk byte for byte", async () => {
  await withStore(async ({ store, packages, trees }) => {
    const big = kernelModule(["depends=", `description=${"x".repeat(3_000_000)}`]);
    const path = `./lib/modules/${KERNEL_VERSION}/kernel/big.ko`;
    await store.import(
      MINE,
      { debs: await packages([...kernelPackageFiles(), { path, content: big }]) },
      new RecordedProgress(),
      NEVER,
    );
    const found = [...walkTree(trees[0]!)].find(({ path }) => path === "/kernel/big.ko")?.inode;
    assert.ok(found?.kind === "file");
    assert.ok(Buffer.from(big).equals(found.content.token as Uint8Array));
    const dep = [...walkTree(trees[0]!)].find(({ path }) => path === "/modules.dep")?.inode;
    assert.ok(dep?.kind === "file");
    assert.match(new TextDecoder().decode(dep.content.token as Uint8Array), /^kernel\/big\.ko:$/m);
  });
});

Deno.test("a package with merged /usr is the same", async () => {
  await withStore(async ({ store, packages }) => {
    const files = kernelPackageFiles({ prefix: "usr/lib" });
    const kernel = await store.import(MINE, { debs: await packages(files) }, new RecordedProgress(), NEVER);
    assert.equal(kernel.version, KERNEL_VERSION);
  });
});

Deno.test("get(), remove() and pull() of what is not there say what to do", async () => {
  await withStore(async ({ store }) => {
    await assert.rejects(store.get(MINE), isBanger("not_found"));
    await assert.rejects(store.remove(MINE), isBanger("not_found"));
    await assert.rejects(store.pull(MINE, new RecordedProgress(), NEVER), isBanger("not_found", /catalog/));
    assert.deepEqual(await store.list(), []);
    assert.equal(await store.find(MINE), undefined);
  });
});

Deno.test("an imported kernel is never overwritten, and gone after remove()", async () => {
  await withStore(async ({ store, packages, kernelsDirectory }) => {
    const debs = await packages();
    await store.import(MINE, { debs: debs }, new RecordedProgress(), NEVER);
    await assert.rejects(
      store.import(MINE, { debs: debs }, new RecordedProgress(), NEVER),
      isBanger("already_exists"),
    );
    await store.remove(MINE);
    assert.deepEqual(await residue(kernelsDirectory), []);
    await store.import(MINE, { debs: debs }, new RecordedProgress(), NEVER);
  });
});

Deno.test("two imports of one name at once: one wins, the other is told", async () => {
  await withStore(async ({ store, packages, kernelsDirectory }) => {
    const debs = await packages();
    const outcomes = await Promise.allSettled(
      [1, 2].map(() => store.import(MINE, { debs: debs }, new RecordedProgress(), NEVER)),
    );
    assert.deepEqual(outcomes.map(({ status }) => status).sort(), ["fulfilled", "rejected"]);
    const lost = outcomes.find((outcome) => outcome.status === "rejected");
    isBanger("already_exists")(lost?.reason);
    assert.deepEqual(await residue(kernelsDirectory), ["mine"]);
  });
});

const noPvh = bzImage(gzipSync(elfExecutable({ notes: [] })));
const modules = `./lib/modules/${KERNEL_VERSION}`;
for (
  const [name, files, control, code, message] of [
    [
      "no kernel image",
      kernelPackageFiles().filter(({ path }) => !path.includes("vmlinuz")),
      {},
      "invalid_argument",
      /no kernel image/,
    ],
    ["no modules", kernelPackageFiles().slice(0, 2), {}, "invalid_argument", /no modules/],
    ["a kernel without PVH", kernelPackageFiles({ vmlinuz: noPvh }), {}, "host_unsupported", /PVH/],
    [
      "modules of two kernels",
      [...kernelPackageFiles(), { path: "./lib/modules/9.9/kernel/a.ko", content: kernelModule([]) }],
      {},
      "corrupt_data",
      /two kernels/,
    ],
    [
      "a version that is no name",
      [...kernelPackageFiles().slice(0, 2), { path: "./lib/modules/$(id)/kernel/a.ko" }],
      {},
      "corrupt_data",
      /no kernel version/,
    ],
    [
      "a module that is none",
      [...kernelPackageFiles(), { path: `${modules}/kernel/a.ko`, content: "text" }],
      {},
      "corrupt_data",
      /kernel\/a\.ko/,
    ],
    [
      "a module that needs a missing one",
      kernelPackageFiles().filter(({ path }) => !path.includes("virtio_ring")),
      {},
      "corrupt_data",
      /virtio_ring/,
    ],
    ["another architecture", kernelPackageFiles(), { Architecture: "arm64" }, "host_unsupported", /arm64/],
    [
      "a file below a module",
      [...kernelPackageFiles(), {
        path: `${modules}/kernel/drivers/block/virtio_blk.ko/x.ko`,
        content: kernelModule([]),
      }],
      {},
      "corrupt_data",
      /no directory/,
    ],
  ] as const
) {
  Deno.test(`a package with ${name} is refused and leaves nothing`, async () => {
    await withStore(async ({ store, packages, kernelsDirectory }) => {
      const debs = await packages(files, { ...KERNEL_CONTROL, ...control });
      await assert.rejects(
        store.import(MINE, { debs: debs }, new RecordedProgress(), NEVER),
        isBanger(code, message),
      );
      assert.deepEqual(await residue(kernelsDirectory), []);
    });
  });
}

Deno.test("the wrong number of kernel packages is refused", async () => {
  await withStore(async ({ store, packages }) => {
    const [kernel, busybox] = await packages();
    for (const debs of [[busybox!], [kernel!, kernel!, busybox!]]) {
      await assert.rejects(
        store.import(MINE, { debs: debs }, new RecordedProgress(), NEVER),
        isBanger("invalid_argument"),
      );
    }
    await assert.rejects(
      store.import(MINE, { debs: ["/nowhere.deb"] }, new RecordedProgress(), NEVER),
      isBanger("not_found"),
    );
  });
});

for (const isDynamic of [false, true]) {
  Deno.test(`without a busybox package, the host's ${isDynamic ? "dynamic one is refused" : "static one serves"}`, async () => {
    await withStore(async ({ store, packages, directory }) => {
      const [kernel] = await packages();
      await Deno.writeFile(`${directory}/host-busybox`, elfExecutable({ isDynamic }));
      const importing = store.import(MINE, { debs: [kernel!] }, new RecordedProgress(), NEVER);
      if (isDynamic) await assert.rejects(importing, isBanger("missing_tool", /busybox/));
      else assert.equal((await importing).name, MINE);
    }, (host, directory) => ({
      ...host,
      processes: { ...host.processes, which: () => Promise.resolve(`${directory}/host-busybox`) },
    }));
  });
}

Deno.test("cancelling leaves nothing and says so with the signal's own reason", async () => {
  await withStore(async ({ store, packages, kernelsDirectory }) => {
    const debs = await packages();
    for (const stage of ["unpack kernel", "make initramfs", "write modules disk"]) {
      const controller = new AbortController();
      const reason = new Error("enough");
      const progress = new RecordedProgress();
      progress.stage = (name) => name === stage && controller.abort(reason);
      await assert.rejects(store.import(MINE, { debs }, progress, controller.signal), reason);
      assert.deepEqual(await residue(kernelsDirectory), [], stage);
    }
  });
});

Deno.test("a full disk is said before anything is written", async () => {
  await withStore(async ({ store, packages, kernelsDirectory }) => {
    await assert.rejects(
      store.import(MINE, { debs: await packages() }, new RecordedProgress(), NEVER),
      isBanger("no_space", /1\.0 MiB free|1 MiB free/),
    );
    assert.deepEqual(await residue(kernelsDirectory), []);
  }, (host) => ({ ...host, files: { ...host.files, freeBytes: () => Promise.resolve(1024 * 1024) } }));
});

Deno.test("a kernel that cannot be read is left out of the list, named by get(), and can be removed", async () => {
  await withStore(async ({ store, packages, kernelsDirectory }) => {
    const kernel = await store.import(MINE, { debs: await packages() }, new RecordedProgress(), NEVER);
    const { manifestPath } = kernelFiles(kernel.directory);
    for (
      const text of [
        "",
        "{",
        "null",
        "[]",
        '{"name":"mine"}',
        (await Deno.readTextFile(manifestPath)).replace("mine", "other"),
      ]
    ) {
      await Deno.writeTextFile(manifestPath, text);
      assert.deepEqual(await store.list(), []);
      await assert.rejects(store.get(MINE), isBanger("state_broken"));
    }
    await Deno.remove(manifestPath);
    await assert.rejects(store.get(MINE), isBanger("state_broken", /missing/));
    await store.remove(MINE);
    assert.deepEqual(await residue(kernelsDirectory), []);
  });
});

Deno.test("a kernel made by another build gets this build's scripts, and keeps what came from packages", async () => {
  await withStore(async ({ store, packages }) => {
    const config = { path: `./boot/config-${KERNEL_VERSION}`, content: "CONFIG_HZ=250\n" };
    const debs = await packages([config, ...kernelPackageFiles()]);
    const kernel = await store.import(MINE, { debs }, new RecordedProgress(), NEVER);
    const original = await Deno.readFile(kernel.initramfsPath);
    const { manifestPath } = kernelFiles(kernel.directory);
    const manifest = JSON.parse(await Deno.readTextFile(manifestPath));
    await Deno.writeTextFile(manifestPath, JSON.stringify({ ...manifest, initramfsRevision: "older" }));
    await Deno.writeFile(kernel.initramfsPath, original.subarray(0, kernel.initramfsBaseBytes + 512));
    const renewed = await store.get(MINE);
    assert.equal(renewed.initramfsRevision, initramfsRevision());
    assert.deepEqual(await Deno.readFile(kernel.initramfsPath), original);
    assert.deepEqual(await store.get(MINE), kernel);
  });
});

Deno.test("cleanUp() removes staging and brings a replaced kernel back", async () => {
  await withStore(async ({ store, packages, kernelsDirectory }) => {
    const kernel = await store.import(MINE, { debs: await packages() }, new RecordedProgress(), NEVER);
    await Deno.rename(kernel.directory, `${kernelsDirectory}/.replaced-mine`);
    await Deno.mkdir(`${kernelsDirectory}/.staging-x`);
    await store.cleanUp();
    assert.deepEqual(await residue(kernelsDirectory), ["mine"]);
    assert.deepEqual(await store.get(MINE), kernel);
    await Deno.mkdir(`${kernelsDirectory}/.replaced-mine`);
    await store.cleanUp();
    assert.deepEqual(await residue(kernelsDirectory), ["mine"]);
  });
});

Deno.test("the initramfs holds the module bytes themselves", async () => {
  await withStore(async ({ store, packages }) => {
    const kernel = await store.import(MINE, { debs: await packages() }, new RecordedProgress(), NEVER);
    const initramfs = new TextDecoder("latin1").decode(await Deno.readFile(kernel.initramfsPath));
    for (const { path, content } of kernelPackageFiles()) {
      if (!path.endsWith(".ko") || !(content instanceof Uint8Array)) continue;
      const wanted = new TextDecoder("latin1").decode(bytesOf(String.fromCharCode(...content) as never));
      assert.ok(initramfs.includes(wanted), path);
    }
  });
});
