import assert from "node:assert/strict";
import { BangerError } from "../../../lib/base/errors.ts";
import type { Clock, Progress } from "../../../lib/base/host.ts";
import { parseImageName } from "../../../lib/base/names.ts";
import { emptyDirectory } from "../../../lib/base/tree.ts";
import { type CatalogEntry } from "../../../lib/image/catalog.ts";
import { ImageService } from "../../../lib/image/service.ts";
import type { ImageSources } from "../../../lib/image/sources.ts";
import type { FoundImage } from "../../../lib/oci/images.ts";
import type { Digest } from "../../../lib/oci/model/digest.ts";
import { formatReference, parseReference } from "../../../lib/oci/model/reference.ts";
import { realHost } from "../../../lib/sys/host.ts";
import { memoryImages } from "./memory_images.ts";

const SILENT: Progress = { stage: () => {}, update: () => {}, note: () => {} };
const NEVER = new AbortController().signal;

/** A registry where tags lead to digests of one letter; it counts what it was asked. */
class FakeRegistry implements ImageSources {
  readonly tags = new Map<string, string>();
  lookUps = 0;
  fills = 0;
  kept: readonly string[] = [];
  /** Where nothing answers, until somebody gives up. */
  isSilent = false;

  find(text: string, _platform: unknown, signal: AbortSignal): Promise<FoundImage> {
    this.lookUps++;
    if (this.isSilent) {
      return new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
    }
    const source = formatReference(parseReference(text));
    const letter = this.tags.get(source);
    if (letter === undefined) {
      return Promise.reject(new BangerError("not_found", `Cannot find ${source}`, "Look elsewhere"));
    }
    const digest = `sha256:${letter.repeat(64)}` as Digest;
    return Promise.resolve({
      source,
      digest,
      config: undefined,
      sizeBytes: 0,
      layers: [],
      fill: () => {
        this.fills++;
        return Promise.resolve({ root: emptyDirectory(), digest, totals: {} as never });
      },
    });
  }
  findStored = () =>
    Promise.reject(new BangerError("not_found", "Cannot find it: this is a test", "Nothing"));
  prune(keep: readonly string[]) {
    this.kept = keep;
    return Promise.resolve({ blobs: 0, sizeBytes: 0 });
  }
}

async function makeBench(options: { catalog?: readonly CatalogEntry[]; clock?: Clock } = {}) {
  const directory = await Deno.makeTempDir({ prefix: "banger-test-" });
  const registry = new FakeRegistry();
  const host = realHost();
  const service = new ImageService({ ...host, clock: options.clock ?? host.clock }, {
    paths: { imagesDirectory: `${directory}/images` as never },
    images: memoryImages(),
    agent: { buildId: "test-build", open: () => ReadableStream.from([new Uint8Array(10)]) },
    sources: registry,
    platform: "x86_64",
    ...(options.catalog ? { catalog: options.catalog } : {}),
  });
  const pull = async (text: string, more: Parameters<ImageService["pull"]>[3] = {}) =>
    await service.pull(text, SILENT, NEVER, more);
  return {
    service,
    registry,
    pull,
    [Symbol.asyncDispose]: () => Deno.remove(directory, { recursive: true }),
  };
}

Deno.test("a second pull of the same digest makes nothing", async () => {
  await using bench = await makeBench();
  bench.registry.tags.set("r.example/web:v1", "a");
  const first = await bench.pull("r.example/web:v1");
  assert.deepEqual([first.name, first.platform, first.digest], [
    "web-v1",
    "linux/amd64",
    `sha256:${"a".repeat(64)}`,
  ]);
  assert.deepEqual(await bench.pull("r.example/web:v1"), first);
  assert.deepEqual([bench.registry.lookUps, bench.registry.fills], [2, 1]);
});

Deno.test("another tag of the same digest is another name of the same image", async () => {
  await using bench = await makeBench();
  bench.registry.tags.set("r.example/web:v1", "a").set("r.example/web:latest", "a");
  const { id } = await bench.pull("r.example/web:v1");
  const again = await bench.pull("r.example/web");
  assert.deepEqual([again.id, again.aliases], [id, ["r.example/web:latest"]]);
  assert.equal(bench.service.get("r.example/web:latest").id, id);
  assert.equal(bench.registry.fills, 1);
});

Deno.test("a tag that moved gives a new image beside the old one, and then means the new one", async () => {
  await using bench = await makeBench();
  bench.registry.tags.set("r.example/web:v1", "a");
  const old = await bench.pull("r.example/web:v1");
  bench.registry.tags.set("r.example/web:v1", "b");
  await new Promise((resolve) => setTimeout(resolve, 2));
  const moved = await bench.pull("r.example/web:v1");
  assert.equal(moved.name, "web-v1-bbbbbbbb");
  assert.equal((await bench.service.ensure("r.example/web:v1", SILENT, NEVER)).id, moved.id);
  assert.equal(bench.service.get("web-v1").id, old.id);
  await bench.service.prune({ all: false });
  assert.deepEqual(bench.registry.kept, [old.digest, moved.digest]);
});

Deno.test("another size, platform or name is another image", async () => {
  await using bench = await makeBench();
  bench.registry.tags.set("r.example/web:v1", "a");
  await bench.pull("r.example/web:v1");
  const large = await bench.pull("r.example/web:v1", { sizeBytes: 64 * 1024 * 1024 });
  const arm = await bench.pull("r.example/web:v1", { platform: "arm64" });
  const named = await bench.pull("r.example/web:v1", { name: parseImageName("named") });
  assert.deepEqual([large.name, arm.name, named.name], ["web-v1-aaaaaaaa", "web-v1-aaaaaaaa-2", "named"]);
  assert.equal(large.sizeBytes, 64 * 1024 * 1024);
  await assert.rejects(bench.service.ensure(arm.name, SILENT, NEVER), /it is for linux\/arm64/);
});

Deno.test("what was pulled by a reference is there without asking; a bare name never asks a registry", async () => {
  await using bench = await makeBench();
  bench.registry.tags.set("docker.io/library/web:v1", "a");
  const { id } = await bench.pull("web:v1");
  assert.equal((await bench.service.ensure("docker.io/library/web:v1", SILENT, NEVER)).id, id);
  assert.equal(bench.registry.lookUps, 1);
  await assert.rejects(bench.pull("web"), /the catalog has no image/);
  assert.equal(bench.registry.lookUps, 1);
});

Deno.test("a silent registry does not keep the next source waiting for long", async () => {
  const host = realHost();
  const asked: number[] = [];
  const clock: Clock = {
    ...host.clock,
    now: () => host.clock.now(),
    monotonicMs: () => host.clock.monotonicMs(),
    sleep: (ms, signal) => {
      asked.push(ms);
      return host.clock.sleep(1, signal);
    },
  };
  const sources = ["r.example/a:1", "r.example/b:1"].map((
    reference,
  ) => ({ kind: "oci", reference } as const));
  const catalog = [{ name: parseImageName("web"), summary: "", sources }];
  await using bench = await makeBench({ catalog, clock });
  bench.registry.tags.set("r.example/b:1", "b");
  bench.registry.isSilent = true;
  const notes: string[] = [];
  const progress = {
    ...SILENT,
    note: (text: string) => {
      notes.push(text);
      bench.registry.isSilent = false;
    },
  };
  const image = await bench.service.pull("web", progress, NEVER);
  assert.deepEqual([image.name, image.source, asked], ["web", "r.example/b:1", [15_000, 120_000]]);
  assert.match(notes.join(), /no answer within 15 s; trying the next source/);
});

Deno.test("nor does one wait without end for a registry that is the only source", async () => {
  const host = realHost();
  const clock: Clock = {
    ...host.clock,
    now: () => host.clock.now(),
    monotonicMs: () => host.clock.monotonicMs(),
    sleep: (_ms, signal) => host.clock.sleep(1, signal),
  };
  await using bench = await makeBench({ clock });
  bench.registry.isSilent = true;
  await assert.rejects(
    bench.service.pull("r.example/a:1", SILENT, NEVER),
    (thrown) =>
      thrown instanceof BangerError && thrown.code === "source_unavailable" &&
      /no answer within 120 s/.test(thrown.message),
  );
});
