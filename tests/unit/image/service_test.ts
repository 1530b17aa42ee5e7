import assert from "node:assert/strict";
import { BangerError, type ErrorCode } from "../../../lib/base/errors.ts";
import type { Host, Progress } from "../../../lib/base/host.ts";
import { parseImageName } from "../../../lib/base/names.ts";
import { emptyDirectory, EPOCH } from "../../../lib/base/tree.ts";
import { MIB } from "../../../lib/base/units.ts";
import { CATALOG, type CatalogEntry } from "../../../lib/image/catalog.ts";
import { type FilledRoot, PLAIN_CONFIG, type RootSource } from "../../../lib/image/root_source.ts";
import type { ImageSources } from "../../../lib/image/sources.ts";
import { ImageService, type ImageServiceOptions } from "../../../lib/image/service.ts";
import { realHost } from "../../../lib/sys/host.ts";
import { memoryImages } from "./memory_images.ts";

const SILENT: Progress = { stage: () => {}, update: () => {}, note: () => {} };
const NEVER = new AbortController().signal;
const DEFAULT = "debian-bookworm";

const unreachable = () =>
  Promise.reject(new BangerError("source_unavailable", "Cannot reach anything: this is a test", "Nothing"));
const NO_SOURCES: ImageSources = {
  find: unreachable,
  findStored: unreachable,
  prune: () => Promise.resolve({ blobs: 0, sizeBytes: 0 }),
};

interface Bench extends AsyncDisposable {
  readonly directory: string;
  readonly images: ImageServiceOptions["images"];
  readonly service: ImageService;
  /** What lies in the directory of images. */
  names(): string[];
}

/** A service over a real directory; sources are the test's own. */
async function makeBench(
  { sources = [smallSource()], host = {}, users = [], catalog = CATALOG }: {
    sources?: RootSource[];
    catalog?: readonly CatalogEntry[];
    host?: Partial<Host>;
    users?: string[];
  } = {},
): Promise<Bench> {
  const directory = await Deno.makeTempDir({ prefix: "banger-test-" });
  const images = memoryImages(() => users);
  let opened = 0;
  const service = new ImageService({ ...realHost(), ...host }, {
    paths: { imagesDirectory: `${directory}/images` as never },
    images,
    catalog,
    agent: { buildId: "test-build", open: () => ReadableStream.from([new TextEncoder().encode("agent")]) },
    sources: NO_SOURCES,
    platform: "linux/amd64",
    openRecipe: () => sources[Math.min(opened++, sources.length - 1)]!,
  });
  return {
    directory,
    images,
    service,
    names: () => {
      try {
        return [...Deno.readDirSync(`${directory}/images`)].map(({ name }) => name).sort();
      } catch (thrown) {
        if (thrown instanceof Deno.errors.NotFound) return [];
        throw thrown;
      }
    },
    [Symbol.asyncDispose]: () => Deno.remove(directory, { recursive: true }),
  };
}

function smallSource(
  fill: (signal: AbortSignal) => Promise<FilledRoot | void> = () => Promise.resolve(),
): RootSource {
  return {
    source: "test:small",
    seed: "test:small",
    timestamp: EPOCH,
    sizeBytes: 16 * MIB,
    fill: async (_sink, progress, signal) => {
      progress.stage("Fill");
      return await fill(signal) ?? { root: emptyDirectory(), digest: "sha256:00", config: PLAIN_CONFIG };
    },
  };
}

function withCode(code: ErrorCode): (thrown: unknown) => boolean {
  return (thrown) => {
    assert.ok(thrown instanceof BangerError, String(thrown));
    assert.equal(thrown.code, code, thrown.message);
    assert.ok(thrown.hint, "it has a hint");
    return true;
  };
}

Deno.test("ImageService.pull() publishes disk, record file and row, and nothing else", async () => {
  await using bench = await makeBench();
  const image = await bench.service.pull(DEFAULT, SILENT, NEVER);
  assert.match(image.id, /^[0-9a-f]{12}$/);
  assert.deepEqual(bench.names(), [image.id]);
  const { id: _id, createdAtMs: _created, contentBytes, ...rest } = image;
  assert.ok(contentBytes > 0);
  assert.deepEqual(rest, {
    name: DEFAULT,
    source: "test:small",
    digest: "sha256:00",
    sizeBytes: 16 * MIB,
    init: "none",
    libc: "none",
    hasSshServer: false,
    agentBuild: "test-build",
    config: PLAIN_CONFIG,
  });
  assert.equal((await Deno.stat(bench.service.rootfsPath(image))).size, 16 * MIB);
  assert.equal((await Deno.stat(bench.service.rootfsPath(image))).mode! & 0o777, 0o444);
  const recorded = JSON.parse(await Deno.readTextFile(`${bench.directory}/images/${image.id}/image.json`));
  assert.deepEqual(recorded, image);
  assert.deepEqual(bench.service.list(), [image]);
  assert.deepEqual(bench.service.get(image.id), image);
});

Deno.test("ImageService.pull() gives what is there already without making it again", async () => {
  await using bench = await makeBench();
  const first = await bench.service.pull(DEFAULT, SILENT, NEVER);
  assert.deepEqual(await bench.service.pull(DEFAULT, SILENT, NEVER), first);
  assert.equal(bench.names().length, 1);
});

Deno.test("ImageService.pull() shares the work of two pulls of one name", async () => {
  let fills = 0;
  await using bench = await makeBench({ sources: [smallSource(() => Promise.resolve(void fills++))] });
  const [a, b] = await Promise.all([1, 2].map(() => bench.service.pull(DEFAULT, SILENT, NEVER)));
  assert.deepEqual(a, b);
  assert.equal(fills, 1);
});

Deno.test("ImageService makes images of different names side by side", async () => {
  await using bench = await makeBench();
  const gate = Promise.withResolvers<void>();
  const slow = bench.service.create(parseImageName("slow"), smallSource(() => gate.promise), SILENT, NEVER);
  const quick = await bench.service.create(parseImageName("quick"), smallSource(), SILENT, NEVER);
  assert.deepEqual(bench.service.list(), [quick]);
  gate.resolve();
  const made = await slow;
  assert.deepEqual(bench.service.list(), [quick, made]);
});

Deno.test("ImageService.create() lets one of two creations of one name win, and leaves nothing of the other", async () => {
  await using bench = await makeBench();
  const name = parseImageName("mine");
  const results = await Promise.allSettled(
    [1, 2].map(() => bench.service.create(name, smallSource(), SILENT, NEVER)),
  );
  const failed = results.filter((result) => result.status === "rejected");
  assert.equal(failed.length, 1);
  withCode("already_exists")(failed[0]!.reason);
  assert.deepEqual(bench.names(), bench.service.list().map(({ id }) => id));
});

const TWO_SOURCES: CatalogEntry[] = [{
  ...CATALOG[0]!,
  sources: [{ kind: "recipe", recipe: DEFAULT }, { kind: "recipe", recipe: DEFAULT }],
}];

Deno.test("ImageService.pull() tries the next source where one cannot be had here, and says so", async () => {
  const absent = smallSource(() => Promise.reject(new BangerError("missing_tool", "no mmdebstrap")));
  await using bench = await makeBench({ catalog: TWO_SOURCES, sources: [absent, smallSource()] });
  const notes: string[] = [];
  await bench.service.pull(DEFAULT, { ...SILENT, note: (text) => notes.push(text) }, NEVER);
  assert.deepEqual(notes, ["no mmdebstrap; trying the next source"]);
  assert.equal(bench.names().length, 1);
});

Deno.test("ImageService.pull() tells what each source lacks where none can be had", async () => {
  const failing = (code: "missing_tool" | "source_unavailable", what: string) =>
    smallSource(() => Promise.reject(new BangerError(code, `Cannot: no ${what}`, `get ${what}`)));
  const sources = [failing("missing_tool", "mmdebstrap"), failing("source_unavailable", "registry")];
  await using bench = await makeBench({ catalog: TWO_SOURCES, sources });
  await assert.rejects(bench.service.pull(DEFAULT, SILENT, NEVER), (thrown) => {
    assert.ok(thrown instanceof BangerError);
    assert.equal(thrown.code, "source_unavailable");
    assert.match(thrown.message, /from any of its sources: Cannot: no mmdebstrap; Cannot: no registry$/);
    assert.equal(thrown.hint, "get mmdebstrap. Or: get registry");
    return true;
  });
});

Deno.test("ImageService.pull() does not hide a corrupt source behind the next one", async () => {
  const corrupt = smallSource(() => Promise.reject(new BangerError("corrupt_data", "wrong digest", "again")));
  await using bench = await makeBench({ catalog: TWO_SOURCES, sources: [corrupt, smallSource()] });
  await assert.rejects(bench.service.pull(DEFAULT, SILENT, NEVER), withCode("corrupt_data"));
});

Deno.test("ImageService leaves nothing of an image whose source fails", async () => {
  const failing = smallSource(() => Promise.reject(new BangerError("corrupt_data", "bad archive", "again")));
  await using bench = await makeBench({ sources: [failing] });
  await assert.rejects(bench.service.pull(DEFAULT, SILENT, NEVER), withCode("corrupt_data"));
  assert.deepEqual([bench.names(), bench.service.list()], [[], []]);
});

Deno.test("ImageService leaves nothing of an image that was cancelled", async () => {
  const controller = new AbortController();
  const source = smallSource(async (signal) => {
    controller.abort(new BangerError("cancelled", "Cannot go on: cancelled"));
    await Promise.resolve();
    signal.throwIfAborted();
  });
  await using bench = await makeBench({ sources: [source] });
  await assert.rejects(bench.service.pull(DEFAULT, SILENT, controller.signal), /cancelled/);
  assert.deepEqual([bench.names(), bench.service.list()], [[], []]);
});

for (const step of ["rename", "writeAtomic", "makeDirectory"] as const) {
  Deno.test(`ImageService leaves nothing where ${step} fails`, async () => {
    const { files } = realHost();
    const failing = {
      ...files,
      // The images directory itself is made before anything else.
      [step]: (...args: unknown[]) =>
        String(args[0]).includes(".staging-")
          ? Promise.reject(new BangerError("no_space", "the disk is full", "free some"))
          : (files[step] as (...args: unknown[]) => Promise<void>)(...args),
    };
    await using bench = await makeBench({ host: { files: failing } });
    await assert.rejects(bench.service.pull(DEFAULT, SILENT, NEVER), withCode("no_space"));
    assert.deepEqual([bench.names(), bench.service.list()], [[], []]);
  });
}

Deno.test("ImageService leaves nothing where the row cannot be written", async () => {
  await using bench = await makeBench();
  bench.images.insert = () => {
    throw new BangerError("state_broken", "the database is full", "free some");
  };
  await assert.rejects(bench.service.pull(DEFAULT, SILENT, NEVER), withCode("state_broken"));
  assert.deepEqual(bench.names(), []);
});

Deno.test("ImageService refuses to begin on a full disk", async () => {
  const files = { ...realHost().files, freeBytes: () => Promise.resolve(10 * MIB) };
  await using bench = await makeBench({ host: { files } });
  await assert.rejects(bench.service.pull(DEFAULT, SILENT, NEVER), withCode("no_space"));
});

Deno.test("ImageService names the command for an image it lacks", async () => {
  await using bench = await makeBench();
  assert.throws(() => bench.service.get(DEFAULT), /Cannot find image "debian-bookworm"/);
  assert.throws(() => bench.service.get("nonsense"), withCode("not_found"));
  await assert.rejects(bench.service.pull("nonsense", SILENT, NEVER), (thrown) => {
    assert.ok(thrown instanceof BangerError);
    return thrown.code === "not_found" &&
      /^Use one of debian-bookworm, .*nonsense:latest$/.test(thrown.hint!);
  });
});

Deno.test("ImageService.remove() takes disk and row away", async () => {
  await using bench = await makeBench();
  await bench.service.pull(DEFAULT, SILENT, NEVER);
  await bench.service.remove(DEFAULT);
  assert.deepEqual([bench.names(), bench.service.list()], [[], []]);
  await assert.rejects(bench.service.remove(DEFAULT), withCode("not_found"));
});

Deno.test("ImageService.remove() refuses while VMs use the image, and names them", async () => {
  await using bench = await makeBench({ users: ["api", "web"] });
  await bench.service.pull(DEFAULT, SILENT, NEVER);
  await assert.rejects(bench.service.remove(DEFAULT), (thrown) => {
    assert.ok(withCode("in_use")(thrown));
    assert.match((thrown as BangerError).message, /VMs api, web use it/);
    return true;
  });
  assert.equal(bench.service.list().length, 1);
});

Deno.test("ImageService.recover() removes what a crash left unfinished and takes in what it left without a row", async () => {
  await using bench = await makeBench();
  const image = await bench.service.pull(DEFAULT, SILENT, NEVER);
  const directory = `${bench.directory}/images`;
  bench.images.remove(image.id);
  await Deno.mkdir(`${directory}/.staging-0123456789ab/x`, { recursive: true });
  await bench.service.recover();
  assert.deepEqual(bench.service.list(), [image]);
  assert.deepEqual(bench.names(), [image.id]);
  await bench.service.recover();
  assert.deepEqual(bench.service.list(), [image]);
});

Deno.test("ImageService.recover() leaves alone what it cannot read: unknown is not absent", async () => {
  await using bench = await makeBench();
  const directory = `${bench.directory}/images`;
  const image = await bench.service.pull(DEFAULT, SILENT, NEVER);
  await Deno.mkdir(`${directory}/00000000aaaa`);
  await Deno.mkdir(`${directory}/00000000bbbb`);
  await Deno.writeTextFile(`${directory}/00000000bbbb/image.json`, "{");
  // A copy made by hand: its record names another directory.
  await Deno.mkdir(`${directory}/00000000cccc`);
  await Deno.copyFile(`${directory}/${image.id}/image.json`, `${directory}/00000000cccc/image.json`);
  await Deno.mkdir(`${directory}/notes`);
  await bench.service.recover();
  assert.deepEqual(bench.service.list(), [image]);
  assert.deepEqual(
    bench.names().filter((name) => name !== image.id),
    ["00000000aaaa", "00000000bbbb", "00000000cccc", "notes"],
  );
});
