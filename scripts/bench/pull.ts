import type { Benchmark } from "./benchmark.ts";
import { timedMs } from "./benchmark.ts";
import { BANGER, read, run } from "./commands.ts";
import { type LayerPlan, layoutOf } from "./generated_layers.ts";
import { startRegistry } from "./registry.ts";

const INFLATER = new URL("./inflate.ts", import.meta.url).pathname;

const MAX_AGAIN_MS = 300;
/** Of /proc/PID/stat's times: what Linux tells userland everywhere. */
const TICK_MS = 10;
const MAX_PEAK_MIB = 256;

/** What a benchmark says of memory. */
export function peakNote(what: string, peakMib: number): string {
  const verdict = peakMib < MAX_PEAK_MIB ? "holds" : "MISSED";
  return `peak memory of ${what} ${Math.round(peakMib)} MiB (under ${MAX_PEAK_MIB} MiB: ${verdict})`;
}

/**
 * From a registry to a disk that boots: downloaded, checked, stored, inflated, checked again, replayed, the agent
 * added, written, on the device, published. The yardstick is the slower of two of these steps, each done alone, with
 * nothing else and by the tools that everybody has: the blob by curl into a file, and the blob inflated by gzip from
 * the page cache, its output thrown away. Our own inflater, alone too, is told beside it.
 */
export function pullBenchmark(plan: LayerPlan, cache: () => string, runs: number): Benchmark {
  return {
    name: `image-${plan.name}-pull`,
    summary:
      `banger image pull from a registry on loopback, nothing stored; against the slower of curl and ` +
      `gzip -dc, each alone`,
    maxRatio: 1.15,
    runs,
    async prepare() {
      const { directory, layerPath } = await layoutOf(plan, cache());
      const ends = new AsyncDisposableStack();
      const work = await Deno.makeTempDir({ prefix: "banger-bench-" });
      ends.defer(() => Deno.remove(work, { recursive: true }));
      const { host, pid: registryPid } = ends.use(await startRegistry(work));
      const reference = `${host}/bench/${plan.name}:latest`;
      const to = `docker://${reference}`;
      await run("skopeo", [
        "copy",
        "--quiet",
        "--dest-tls-verify=false",
        `oci:${directory}:latest`,
        to,
      ]);
      const blob = await blobUrl(directory, `http://${host}/v2/bench/${plan.name}`);
      const seen: Seen = {
        cpuMs: [],
        downloadMs: [],
        gzipMs: [],
        inflateMs: [],
        ratio: [],
        againMs: [],
        peakMib: [],
      };
      return {
        async pair() {
          await using banger = await newHome(work);
          const pids = [banger.daemonPid, registryPid];
          const cpuBeforeMs = await processorMs(pids);
          const oursMs = await timedMs(() => banger.run("image", "pull", reference));
          seen.cpuMs.push(await processorMs(pids) - cpuBeforeMs);
          seen.peakMib.push(await banger.daemonPeakMib());
          seen.againMs.push(await timedMs(() => banger.run("image", "pull", reference)));
          const downloadMs = await timedMs(() =>
            run("curl", ["--silent", "--fail", "--output", `${work}/blob`, blob])
          );
          await Deno.remove(`${work}/blob`);
          const gzipMs = await timedMs(() => run("gzip", ["-dc", layerPath]));
          const inflateMs = Number(
            await read(Deno.execPath(), ["run", "-A", "--no-check", INFLATER, layerPath]),
          );
          seen.downloadMs.push(downloadMs);
          seen.gzipMs.push(gzipMs);
          seen.inflateMs.push(inflateMs);
          seen.ratio.push(oursMs / Math.max(downloadMs, inflateMs));
          return { oursMs, peerMs: Math.max(downloadMs, gzipMs) };
        },
        notes: () => notesOf(seen),
        [Symbol.asyncDispose]: () => ends.disposeAsync(),
      };
    },
  };
}

/** Of all pairs, the one that warms up included. */
type Seen = Record<
  "downloadMs" | "gzipMs" | "inflateMs" | "ratio" | "cpuMs" | "againMs" | "peakMib",
  number[]
>;

function notesOf({ downloadMs, gzipMs, inflateMs, ratio, cpuMs, againMs, peakMib }: Seen): string[] {
  const [least, most] = [Math.min(...ratio).toFixed(2), Math.max(...ratio).toFixed(2)];
  return [
    `alone: curl ${range(downloadMs)}, gzip -dc ${range(gzipMs)}`,
    `our own inflater alone ${range(inflateMs)}: ours ${least} to ${most} times the slower of that and curl`,
    `processor time of bangerd and the registry together ${range(cpuMs)}`,
    `the same digest again ${range(againMs)} (under ${MAX_AGAIN_MS} ms: ${
      Math.max(...againMs) < MAX_AGAIN_MS ? "holds" : "MISSED"
    })`,
    peakNote("bangerd", Math.max(...peakMib)),
  ];
}

/** A user who has pulled nothing yet, with a daemon that just started. */
async function newHome(work: string) {
  const home = await Deno.makeTempDir({ dir: work, prefix: "home-" });
  const env = { HOME: home, XDG_CACHE_HOME: `${home}/.cache` };
  await run(BANGER, ["daemon", "start"], env);
  const { pid } = JSON.parse(await read(BANGER, ["daemon", "status", "--json"], env)) as { pid: number };
  return {
    daemonPid: pid,
    run: (...args: string[]) => run(BANGER, args, env),
    async daemonPeakMib() {
      const status = await Deno.readTextFile(`/proc/${pid}/status`);
      return Number(/VmHWM:\s+(\d+)/.exec(status)?.[1] ?? 0) / 1024;
    },
    async [Symbol.asyncDispose]() {
      await run(BANGER, ["daemon", "stop", "--force"], env);
      await Deno.remove(home, { recursive: true });
    },
  };
}

/** What processes have used of processors, in user mode and in the kernel. Source: proc_pid_stat(5) */
async function processorMs(pids: readonly number[]): Promise<number> {
  let ticks = 0;
  for (const pid of pids) {
    const stat = await Deno.readTextFile(`/proc/${pid}/stat`);
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    ticks += Number(fields[11]) + Number(fields[12]);
  }
  return ticks * TICK_MS;
}

async function blobUrl(layout: string, repository: string): Promise<string> {
  interface Described {
    readonly digest: string;
  }
  const { manifests } = JSON.parse(await Deno.readTextFile(`${layout}/index.json`)) as {
    manifests: Described[];
  };
  const path = `${layout}/blobs/sha256/${manifests[0]!.digest.slice("sha256:".length)}`;
  const { layers } = JSON.parse(await Deno.readTextFile(path)) as { layers: Described[] };
  return `${repository}/blobs/${layers[0]!.digest}`;
}

function range(timesMs: readonly number[]): string {
  return `${Math.min(...timesMs).toFixed(0)} to ${Math.max(...timesMs).toFixed(0)} ms`;
}
