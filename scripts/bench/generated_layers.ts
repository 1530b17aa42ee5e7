/**
 * Two layers that resemble real ones, generated from a seed, as OCI layouts in the user's cache: the same bytes on
 * every machine, and nothing is downloaded.
 */
import { createHash } from "node:crypto";
import { run } from "./commands.ts";

export interface LayerPlan {
  readonly name: string;
  readonly totalBytes: number;
  readonly entries: number;
  /** Files in one directory beside the spread-out ones. */
  readonly crowdedDirectory: number;
}

export const LAYERS: readonly LayerPlan[] = [
  { name: "tree", totalBytes: 800e6, entries: 47_000, crowdedDirectory: 0 },
  { name: "crowded", totalBytes: 850e6, entries: 71_000, crowdedDirectory: 18_000 },
];

const BLOCK = 512;
const FILES_PER_DIRECTORY = 24;

/** Park and Miller's minimal standard generator. */
function generator(seed: number): () => number {
  let state = seed;
  return () => (state = (state * 48271) % 2147483647) / 2147483647;
}

/** Half words as program text has, half noise as binaries have: gzip takes it to about 45%. */
function contentPool(random: () => number): Uint8Array {
  const pool = new Uint8Array(8 * 2 ** 20);
  const words = Array.from(
    { length: 4000 },
    () => Math.floor(random() * 2 ** 40).toString(36).slice(0, 2 + random() * 7),
  );
  const encoder = new TextEncoder();
  for (let at = 0; at < pool.length;) {
    if (random() < 0.5) {
      const text = Array.from({ length: 400 }, () => words[Math.floor(random() ** 3 * words.length)]).join(
        " ",
      );
      const bytes = encoder.encode(`${text}\n`).subarray(0, pool.length - at);
      pool.set(bytes, at);
      at += bytes.length;
    } else {
      const length = Math.min(1200, pool.length - at);
      for (let i = 0; i < length; i++) pool[at + i] = Math.floor(random() * 256);
      at += length;
    }
  }
  return pool;
}

function header(name: string, mode: number, sizeBytes: number, type: "0" | "5"): Uint8Array {
  const block = new Uint8Array(BLOCK);
  const put = (text: string, at: number) => block.set(new TextEncoder().encode(text), at);
  const octal = (value: number, digits: number) => value.toString(8).padStart(digits, "0");
  put(name, 0);
  put(
    `${octal(mode, 7)}\0${octal(0, 7)}\0${octal(0, 7)}\0${octal(sizeBytes, 11)}\0${
      octal(1_700_000_000, 11)
    }\0`,
    100,
  );
  put(`        ${type}`, 148);
  put("ustar\x0000root\0", 257);
  put(`${octal(block.reduce((sum, byte) => sum + byte, 0), 6)}\0 `, 148);
  return block;
}

/** Sizes as real trees have them: most small, a few large; scaled to the wanted total. */
function fileSizes(plan: LayerPlan, files: number, random: () => number): number[] {
  const raw = Array.from(
    { length: files },
    () => Math.exp(7.6 + 1.9 * Math.sqrt(-2 * Math.log(random())) * Math.cos(2 * Math.PI * random())),
  );
  const scale = plan.totalBytes / raw.reduce((sum, size) => sum + size, 0);
  return raw.map((size) => Math.floor(size * scale));
}

function* archive(plan: LayerPlan): Generator<Uint8Array> {
  const random = generator(plan.entries);
  const pool = contentPool(random);
  const spread = plan.entries - plan.crowdedDirectory;
  const directories = Math.floor(spread / (FILES_PER_DIRECTORY + 1));
  const files = plan.entries - directories - (plan.crowdedDirectory > 0 ? 1 : 0);
  const sizes = fileSizes(plan, files, random);
  let next = 0;
  const file = function* (name: string) {
    const sizeBytes = sizes[next++]!;
    yield header(name, 0o644, sizeBytes, "0");
    for (let left = sizeBytes; left > 0;) {
      const at = Math.floor(random() * (pool.length - 1));
      const part = pool.subarray(at, Math.min(pool.length, at + left));
      yield part;
      left -= part.length;
    }
    if (sizeBytes % BLOCK) yield new Uint8Array(BLOCK - sizeBytes % BLOCK);
  };
  for (let d = 0; d < directories; d++) {
    const name = `usr/d${d % 61}/e${d}`;
    yield header(`${name}/`, 0o755, 0, "5");
    for (let f = 0; f < FILES_PER_DIRECTORY && next < files - plan.crowdedDirectory; f++) {
      yield* file(`${name}/file-${f}.dat`);
    }
  }
  if (plan.crowdedDirectory > 0) yield header("crowded/", 0o755, 0, "5");
  for (let f = 0; next < files; f++) {
    yield* file(`${plan.crowdedDirectory > 0 ? "crowded" : "usr/d0/e0"}/entry-${f}.dat`);
  }
  yield new Uint8Array(2 * BLOCK);
}

async function writeArchive(plan: LayerPlan, path: string): Promise<string> {
  const hash = createHash("sha256");
  using target = await Deno.open(path, { write: true, create: true, truncate: true });
  let pending: Uint8Array[] = [];
  let pendingBytes = 0;
  const flush = () => {
    const whole = new Uint8Array(pendingBytes);
    pending.reduce((at, chunk) => (whole.set(chunk, at), at + chunk.length), 0);
    hash.update(whole);
    for (let at = 0; at < whole.length;) at += target.writeSync(whole.subarray(at));
    pending = [];
    pendingBytes = 0;
  };
  for (const chunk of archive(plan)) {
    pending.push(chunk);
    pendingBytes += chunk.length;
    if (pendingBytes > 2 ** 20) flush();
  }
  flush();
  return hash.digest("hex");
}

async function sha256Of(path: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of (await Deno.open(path)).readable) hash.update(chunk);
  return hash.digest("hex");
}

export interface Layout {
  /** `oci:DIRECTORY:latest` without the scheme. */
  readonly directory: string;
  /** The layer's blob. */
  readonly layerPath: string;
}

/** `zstd-long` has the largest window that zstd takes without being told: 128 MiB. */
export type LayerCompression = "gzip" | "zstd" | "zstd-long";

const ZSTD_MEDIA_TYPE = "application/vnd.oci.image.layer.v1.tar+zstd";
const COMPRESSIONS = {
  gzip: { mediaType: "application/vnd.oci.image.layer.v1.tar+gzip", extension: "tar.gz", suffix: "" },
  zstd: { mediaType: ZSTD_MEDIA_TYPE, extension: "tar.zst", suffix: "-zstd" },
  "zstd-long": { mediaType: ZSTD_MEDIA_TYPE, extension: "long.tar.zst", suffix: "-zstd-long" },
} as const;

/** Made once; kept under `cache`. */
export async function layoutOf(
  plan: LayerPlan,
  cache: string,
  compression: LayerCompression = "gzip",
): Promise<Layout> {
  const { mediaType, extension, suffix } = COMPRESSIONS[compression];
  const directory = `${cache}/layer-${plan.name}${suffix}`;
  const layerPath = `${cache}/layer-${plan.name}.${extension}`;
  if (!(await Deno.stat(`${directory}/index.json`).catch(() => undefined))) {
    await Deno.mkdir(`${directory}/blobs/sha256`, { recursive: true });
    const tar = `${cache}/layer-${plan.name}.tar`;
    const diffId = await writeArchive(plan, tar);
    // As containerd and buildkit compress by default, but for the time stamp.
    if (compression === "gzip") await run("gzip", ["-6", "--no-name", "--force", tar]);
    else {
      const long = compression === "zstd-long" ? ["--long=27"] : [];
      await run("zstd", ["-3", ...long, "--quiet", "--force", "--rm", tar, "-o", layerPath]);
    }
    await writeLayout(directory, layerPath, mediaType, diffId);
  }
  return { directory, layerPath };
}

/** An image of one layer, which is linked and not copied. */
async function writeLayout(
  directory: string,
  layerPath: string,
  mediaType: string,
  diffId: string,
): Promise<void> {
  const blobs = `${directory}/blobs/sha256`;
  const layer = await sha256Of(layerPath);
  await Deno.link(layerPath, `${blobs}/${layer}`).catch(() => {});
  const put = async (value: unknown, mediaType: string) => {
    const bytes = new TextEncoder().encode(JSON.stringify(value));
    const digest = createHash("sha256").update(bytes).digest("hex");
    await Deno.writeFile(`${blobs}/${digest}`, bytes);
    return { mediaType, digest: `sha256:${digest}`, size: bytes.length };
  };
  const config = await put({
    architecture: "amd64",
    os: "linux",
    config: {},
    rootfs: { type: "layers", diff_ids: [`sha256:${diffId}`] },
  }, "application/vnd.oci.image.config.v1+json");
  const manifest = await put({
    schemaVersion: 2,
    mediaType: "application/vnd.oci.image.manifest.v1+json",
    config,
    layers: [{ mediaType, digest: `sha256:${layer}`, size: (await Deno.stat(layerPath)).size }],
  }, "application/vnd.oci.image.manifest.v1+json");
  await Deno.writeTextFile(`${directory}/oci-layout`, '{"imageLayoutVersion":"1.0.0"}');
  const index = {
    schemaVersion: 2,
    manifests: [{ ...manifest, annotations: { "org.opencontainers.image.ref.name": "latest" } }],
  };
  await Deno.writeTextFile(`${directory}/index.json`, JSON.stringify(index));
}
