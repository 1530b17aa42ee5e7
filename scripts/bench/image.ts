import type { Benchmark } from "./benchmark.ts";
import { timedMs } from "./benchmark.ts";
import { EXECUTABLES } from "../permissions.ts";
import { read, run } from "./commands.ts";
import { type LayerCompression, type LayerPlan, LAYERS, layoutOf } from "./generated_layers.ts";
import { peakNote, pullBenchmark } from "./pull.ts";

/** What bangerd, in which conversions run, is compiled with. */
const ENGINE_FLAGS = EXECUTABLES.find(({ name }) => name === "bangerd")!.flags.filter((flag) =>
  flag.startsWith("--v8-flags=")
);
const CONVERTER = new URL("./convert_image.ts", import.meta.url).pathname;

function cacheDirectory(): string {
  const cache = Deno.env.get("XDG_CACHE_HOME") ?? `${Deno.env.get("HOME")}/.cache`;
  return `${cache}/banger-dev/bench`;
}

/** What a peer does from the layout (or its layer) in `work`, as one shell command. */
type Peer = (paths: { layout: string; layer: string; work: string }) => string;

/** The tools that people chain today. */
const CHAIN: Peer = ({ layout, work }) =>
  [
    `skopeo copy --quiet oci:${layout}:latest oci:${work}/copy:latest`,
    `umoci unpack --image ${work}/copy:latest ${work}/bundle`,
    `mke2fs -q -t ext4 -d ${work}/bundle/rootfs ${work}/peer.ext4 2G`,
  ].join(" && ");

/** The fastest converter there is, to another file system that can't be written to. */
const TAR2SQFS: Peer = ({ layer, work }) =>
  `${
    layer.endsWith(".gz") ? "gzip" : "zstd"
  } -dc ${layer} | tar2sqfs --quiet --compressor lz4 --force ${work}/peer.sqfs`;

function conversion(
  plan: LayerPlan,
  peerName: string,
  peer: Peer,
  atLeastTimesFaster: number,
  runs: number,
  compression: LayerCompression = "gzip",
  isWarm = false,
): Benchmark {
  return {
    name: `image-${plan.name}-${peerName}`,
    summary: `${
      plan.totalBytes / 1e6
    } MB in ${plan.entries} entries, one ${compression} layer in an OCI layout, to an ext4 disk; against ${
      peerName === "chain"
        ? "skopeo + umoci + mke2fs -d"
        : `${compression === "gzip" ? "gzip" : "zstd"} -d | tar2sqfs lz4`
    }`,
    maxRatio: 1 / atLeastTimesFaster,
    runs,
    isWarm,
    async prepare() {
      await Deno.mkdir(cacheDirectory(), { recursive: true });
      const { directory, layerPath } = await layoutOf(plan, cacheDirectory(), compression);
      const work = await Deno.makeTempDir({ prefix: "banger-bench-" });
      let peakMib = 0;
      return {
        async pair() {
          const args = [
            "run",
            "-A",
            "--no-check",
            ...ENGINE_FLAGS,
            CONVERTER,
            `oci:${directory}:latest`,
            `${work}/ours.ext4`,
            `${work}/store`,
          ];
          const oursMs = await timedMs(async () => {
            peakMib = Math.max(peakMib, Number(await read(Deno.execPath(), args)) / 1024);
          });
          await run("e2fsck", ["-fn", `${work}/ours.ext4`]);
          const peerMs = await timedMs(() =>
            run("sh", ["-c", peer({ layout: directory, layer: layerPath, work })])
          );
          await run("sh", ["-c", `rm -rf ${work}/*`]);
          return { oursMs, peerMs };
        },
        notes: () => [peakNote("ours", peakMib)],
        [Symbol.asyncDispose]: () => Deno.remove(work, { recursive: true }),
      };
    },
  };
}

const [TREE, CROWDED] = LAYERS as [LayerPlan, LayerPlan];

/** `deno task bench image` runs them all. */
export const image: readonly Benchmark[] = [
  // A run of the chain takes most of a minute; beside that, what caches save is nothing.
  conversion(TREE, "chain", CHAIN, 6, 2, "gzip", true),
  conversion(CROWDED, "chain", CHAIN, 15, 1, "gzip", true),
  conversion(TREE, "tar2sqfs", TAR2SQFS, 1.1, 3),
  conversion(CROWDED, "tar2sqfs", TAR2SQFS, 2, 3),
  conversion(TREE, "zstd", TAR2SQFS, 0, 2, "zstd"),
  conversion(CROWDED, "zstd-long", TAR2SQFS, 0, 2, "zstd-long"),
  pullBenchmark(TREE, cacheDirectory, 3),
  pullBenchmark(CROWDED, cacheDirectory, 3),
];
