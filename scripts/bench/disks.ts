import { byteStringOfText, emptyDirectory, EPOCH, type FileInode, rootOwned } from "../../lib/base/tree.ts";
import type { VmId } from "../../lib/base/names.ts";
import { uuidFromSeed } from "../../lib/base/uuid.ts";
import { VM_DEFAULTS } from "../../lib/base/vm_defaults.ts";
import { FilesystemWriter } from "../../lib/ext4/mod.ts";
import { imagePaths, type Paths, vmPaths } from "../../lib/store/paths.ts";
import type { ImageRecord } from "../../lib/store/records.ts";
import { realHost } from "../../lib/sys/host.ts";
import { makeRootDisk } from "../../lib/vm/root_disk.ts";
import { makeWorkDisk } from "../../lib/vm/work_disk.ts";
import { type Benchmark, timedMs } from "./benchmark.ts";
import { run } from "./commands.ts";

const GB = 1_000_000_000;
const CHUNK_BYTES = 1_000_000;
const SEED_BYTES = 64 * 1024;

const host = realHost();

/** An image with that much in it, of which nothing is a hole. */
async function makeImage(paths: Paths, id: string, contentBytes: number): Promise<ImageRecord> {
  const { directory, rootfs } = imagePaths(paths, id);
  await Deno.mkdir(directory, { recursive: true });
  await using file = await host.files.open(rootfs, { read: true, write: true, createNew: true });
  const sizeBytes = Math.ceil(contentBytes * 1.1 / 4096) * 4096;
  await using writer = await FilesystemWriter.create(file, {
    uuid: uuidFromSeed(id),
    timestamp: EPOCH,
    sizeBytes,
  });
  const store = async (bytes: number): Promise<FileInode> => {
    const content = writer.begin();
    const chunk = new Uint8Array(Math.min(CHUNK_BYTES, bytes));
    for (let at = 0; at < chunk.length; at += 65536) crypto.getRandomValues(chunk.subarray(at, at + 65536));
    for (let written = 0; written < bytes; written += chunk.length) await content.write(chunk);
    return { kind: "file", attributes: rootOwned(0o644), content: await content.end() };
  };
  const root = emptyDirectory();
  const home = emptyDirectory();
  home.entries.set(byteStringOfText("seed"), await store(SEED_BYTES));
  root.entries.set(byteStringOfText("root"), home);
  root.entries.set(byteStringOfText("content"), await store(contentBytes));
  await writer.finish(root);
  await file.sync();
  return { id, sizeBytes } as ImageRecord;
}

async function makeDisks(paths: Paths, image: ImageRecord): Promise<void> {
  const id = crypto.randomUUID().slice(0, 8) as VmId;
  const { directory } = vmPaths(paths, id);
  await Deno.mkdir(directory, { recursive: true });
  await makeRootDisk(host, paths, image, id, { needsRaw: false });
  await makeWorkDisk(host.files, paths, image, id, VM_DEFAULTS.workDiskBytes);
}

async function prepare(): Promise<{ directory: string; paths: Paths } & AsyncDisposable> {
  const directory = await Deno.makeTempDir({ prefix: "banger-bench-" });
  const paths = {
    imagesDirectory: `${directory}/images`,
    vmsDirectory: `${directory}/vms`,
    runtimeDirectory: `${directory}/run`,
  } as Paths;
  return { directory, paths, [Symbol.asyncDispose]: () => Deno.remove(directory, { recursive: true }) };
}

const large: Benchmark = {
  name: "create-large",
  summary: "a VM's disks of an image with 10 GB in it, against those of one with 1 GB",
  maxRatio: 1.2,
  runs: 15,
  async prepare() {
    await using onFailure = new AsyncDisposableStack();
    const { paths } = onFailure.use(await prepare());
    const [ten, one] = [await makeImage(paths, "ten", 10 * GB), await makeImage(paths, "one", GB)];
    const owned = onFailure.move();
    return {
      pair: async () => ({
        oursMs: await timedMs(() => makeDisks(paths, ten)),
        peerMs: await timedMs(() => makeDisks(paths, one)),
      }),
      [Symbol.asyncDispose]: () => owned.disposeAsync(),
    };
  },
};

const copy: Benchmark = {
  name: "create-copy",
  summary: "a VM's disks of an image with 1 GB in it, against `cp` of that image",
  maxRatio: 1 / 20,
  runs: 7,
  async prepare() {
    await using onFailure = new AsyncDisposableStack();
    const { paths, directory } = onFailure.use(await prepare());
    const image = await makeImage(paths, "one", GB);
    const { rootfs } = imagePaths(paths, image.id);
    const target = `${directory}/copy`;
    const owned = onFailure.move();
    return {
      async pair() {
        // Neither waits for the host's disk, and not for what the copy before has left to be written either.
        await run("sync", []);
        const oursMs = await timedMs(() => makeDisks(paths, image));
        const peerMs = await timedMs(() => run("cp", ["--reflink=never", rootfs, target]));
        await Deno.remove(target);
        return { oursMs, peerMs };
      },
      [Symbol.asyncDispose]: () => owned.disposeAsync(),
    };
  },
};

export const create: readonly Benchmark[] = [large, copy];
