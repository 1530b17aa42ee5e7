/**
 * Measures ours against a peer on the same machine in the same run: deno task bench [--json] [NAME…]
 *
 * With --json each benchmark gives one JSON object on one line; times are medians in milliseconds.
 */
import { type Benchmark, measure, type Outcome } from "./bench/benchmark.ts";
import { boot } from "./bench/boot.ts";
import { cli } from "./bench/cli.ts";
import { BANGER, run } from "./bench/commands.ts";
import { create } from "./bench/disks.ts";
import { exec } from "./bench/exec.ts";
import { kernel } from "./bench/kernel.ts";
import { list } from "./bench/list.ts";
import { parallel } from "./bench/parallel.ts";
import { image } from "./bench/image.ts";
import { network } from "./bench/network.ts";
import { ext4 } from "./bench/ext4.ts";
import { release } from "./bench/release.ts";
import { workspace } from "./bench/workspace.ts";
import { build } from "./build.ts";

const BENCHMARKS: readonly Benchmark[] = [
  cli,
  ...release,
  list,
  ext4,
  exec,
  boot,
  kernel,
  parallel,
  ...create,
  ...image,
  ...network,
  ...workspace,
];

/** A name, or the beginning of several: `image` means all that begin with `image-`. */
function isMeant(benchmark: Benchmark, name: string): boolean {
  return benchmark.name === name || benchmark.name.startsWith(`${name}-`);
}

function row({ name, ours, peer, ratio, maxRatio, runs, spread, notes }: Outcome): string {
  const verdict = ratio <= maxRatio ? "holds" : "MISSED";
  const cells = [
    name.padEnd(23),
    `${ours.toFixed(0)} ms`.padStart(10),
    `${peer.toFixed(0)} ms`.padStart(10),
    ratio.toFixed(2).padStart(6),
    `(${spread[0].toFixed(2)} to ${spread[1].toFixed(2)}, ${runs} runs)`.padEnd(26),
    Number.isFinite(maxRatio) ? `at most ${maxRatio.toFixed(2)}: ${verdict}` : "",
  ];
  return [cells.join("  "), ...notes.map((note) => `            ${note}`)].join("\n");
}

async function main(): Promise<number> {
  const json = Deno.args.includes("--json");
  const names = Deno.args.filter((argument) => argument !== "--json");
  const unknown = names.filter((name) => !BENCHMARKS.some((benchmark) => isMeant(benchmark, name)));
  if (unknown.length > 0) {
    console.error(
      `Cannot run ${unknown.join(", ")}: choose from ${BENCHMARKS.map(({ name }) => name).join(", ")}`,
    );
    return 2;
  }
  await build();
  const home = await Deno.makeTempDir({ prefix: "banger-bench-home-" });
  const isOwnHome = Deno.env.get("BANGER_BENCH_HOME") === undefined;
  if (!Deno.env.get("XDG_CACHE_HOME")) Deno.env.set("XDG_CACHE_HOME", `${Deno.env.get("HOME")}/.cache`);
  Deno.env.set("HOME", Deno.env.get("BANGER_BENCH_HOME") ?? home);
  Deno.env.delete("XDG_STATE_HOME");
  Deno.env.delete("XDG_RUNTIME_DIR");
  try {
    if (!json) console.log("name                          ours        peer   ratio");
    for (const benchmark of BENCHMARKS) {
      if (names.length > 0 && !names.some((name) => isMeant(benchmark, name))) continue;
      if (!json) console.log(`# ${benchmark.name}: ${benchmark.summary}`);
      const outcome = await measure(benchmark);
      console.log(json ? JSON.stringify(outcome) : row(outcome));
    }
    return 0;
  } finally {
    await run(BANGER, ["daemon", "stop", "--force"]);
    if (isOwnHome) await Deno.remove(home, { recursive: true });
  }
}

Deno.exit(await main());
