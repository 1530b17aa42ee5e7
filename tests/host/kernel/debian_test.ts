/**
 * The real thing: Debian's kernel through the host's apt, judged by kmod, cpio, e2fsck, and by booting it.
 */
import { ports } from "../../unit/kernel/support.ts";
import assert from "node:assert/strict";
import { parseKernelName } from "../../../lib/base/names.ts";
import { AptFetcher } from "../../../lib/kernel/apt.ts";
import type { Kernel } from "../../../lib/kernel/manifest.ts";
import { KernelStore } from "../../../lib/kernel/store.ts";
import { realHost } from "../../../lib/sys/host.ts";
import { bootTests } from "./boot.ts";
import { mke2fsDiskBuilder } from "./mke2fs_disk_builder.ts";
import { inTemporaryDirectory, NEVER, report, run, runWell, SILENT } from "./tools.ts";

Deno.test("Debian's kernel: pulled, judged, booted", async (t) => {
  await inTemporaryDirectory(async (directory) => {
    const places = { kernelsDirectory: `${directory}/kernels`, cacheDirectory: `${directory}/cache` };
    const store = new KernelStore(realHost(), places, ports(mke2fsDiskBuilder));
    const aptBefore = await hostAptState();
    const kernel = await store.pull(parseKernelName("debian"), SILENT, NEVER);

    await t.step("nothing of the host's apt has changed", async () => {
      assert.deepEqual(await hostAptState(), aptBefore);
    });
    await t.step("pulled again, nothing is made anew", async () => {
      const startedMs = performance.now();
      assert.deepEqual(await store.pull(parseKernelName("debian"), SILENT, NEVER), kernel);
      report(`second pull: ${Math.round(performance.now() - startedMs)} ms`);
    });
    await t.step("a damaged download is fetched again", async () => {
      const apt = new AptFetcher(realHost(), `${directory}/cache/apt`);
      const found = await apt.find("busybox-static", NEVER);
      const path = await apt.download(found, `${directory}/cache/packages`, SILENT, NEVER);
      const good = await Deno.readFile(path);
      await Deno.writeFile(path, good.with(5000, good[5000]! ^ 255));
      assert.equal(await apt.download(found, `${directory}/cache/packages`, SILENT, NEVER), path);
      assert.deepEqual(await Deno.readFile(path), good);
    });
    await t.step("cancelling ends apt at once", async () => {
      const apt = new AptFetcher(realHost(), `${directory}/other-apt`);
      const startedMs = performance.now();
      await assert.rejects(apt.find("busybox-static", AbortSignal.timeout(150)), { name: "TimeoutError" });
      assert.ok(performance.now() - startedMs < 5000);
    });
    await t.step("cpio reads the initramfs", async () => {
      const bytes = await Deno.readFile(kernel.initramfsPath);
      const { text } = await runWell("cpio", ["-it", "--quiet"], { stdin: bytes });
      assert.match(text, /^modules\/virtio_blk$/m);
    });
    const modules = `${directory}/root/lib/modules`;
    await t.step("the modules disk is a clean filesystem", async () => {
      assert.equal((await run("e2fsck", ["-fn", kernel.modulesDiskPath])).code, 0);
      await Deno.mkdir(`${modules}/${kernel.version}`, { recursive: true });
      await runWell("debugfs", ["-R", `rdump / ${modules}/${kernel.version}`, kernel.modulesDiskPath]);
    });
    await t.step("kmod writes the same indexes and finds modules in ours", async () => {
      await judgeByKmod(directory, modules, kernel);
    });
    await bootTests(t, directory, kernel);
  });
});

/** Times of what apt keeps. */
async function hostAptState(): Promise<(number | undefined)[]> {
  const paths = ["/var/lib/apt/lists", "/var/cache/apt", "/var/lib/dpkg/status", "/etc/apt"];
  return await Promise.all(
    paths.map(async (path) => (await Deno.stat(path).catch(() => undefined))?.mtime?.getTime()),
  );
}

async function judgeByKmod(directory: string, modules: string, kernel: Kernel): Promise<void> {
  const apt = new AptFetcher(realHost(), `${directory}/cache/apt`);
  for (const name of ["kmod", "libkmod2"]) {
    const deb = await apt.download(await apt.find(name, NEVER), `${directory}/debs`, SILENT, NEVER);
    await runWell("dpkg-deb", ["--extract", deb, `${directory}/kmod`]);
  }
  const kmod = [`${directory}/kmod/bin/kmod`, `${directory}/kmod/usr/bin/kmod`].find((path) => {
    try {
      return Deno.statSync(path).isFile;
    } catch {
      return false;
    }
  });
  assert.ok(kmod);
  for (const tool of ["depmod", "modprobe"]) await Deno.symlink(kmod, `${directory}/${tool}`);
  const libraries = ["lib", "usr/lib"].map((lib) => `${directory}/kmod/${lib}/x86_64-linux-gnu`).join(":");
  const env = { LD_LIBRARY_PATH: libraries };

  for (const name of ["btrfs", "virtio:d00000001v00001AF4", "fs-overlay", "ext4", "virtio-rng"]) {
    const args = ["-d", `${directory}/root`, "-S", kernel.version, "--show-depends", name];
    const shown = await runWell(`${directory}/modprobe`, args, { env });
    if (name === "btrfs") assert.match(shown.text, /libcrc32c\.ko[^]*\/btrfs\.ko\s*$/);
    if (name === "ext4") assert.match(shown.text, /^builtin ext4$/m);
  }

  const ours = `${modules}/${kernel.version}`;
  const read = (name: string) => Deno.readFileSync(`${ours}/${name}`);
  const kept = ["alias", "alias.bin", "builtin.bin", "builtin.alias.bin", "softdep", "devname"].map((name) =>
    `modules.${name}`
  );
  const before = new Map(kept.map((name) => [name, read(name)]));
  const dependencies = new TextDecoder().decode(read("modules.dep"));
  for (const { name } of Deno.readDirSync(ours)) {
    if (/\.bin$|^modules\.(dep|alias|symbols|softdep|devname)$/.test(name)) {
      await Deno.remove(`${ours}/${name}`);
    }
  }
  await runWell(`${directory}/depmod`, ["-b", `${directory}/root`, kernel.version], { env });
  for (const [name, bytes] of before) assert.deepEqual(read(name), bytes, name);
  const theirs = new TextDecoder().decode(read("modules.dep"));
  assert.deepEqual(dependencySets(dependencies), dependencySets(theirs));
}

/** depmod orders what does not depend on each other in its own way. */
function dependencySets(text: string): string[] {
  return text.trim().split("\n").map((line) => {
    const [path, ...needed] = line.split(/:? /);
    return `${path}: ${needed.sort().join(" ")}`;
  }).sort();
}
