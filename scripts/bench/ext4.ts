import { parseAptSources } from "../../lib/kernel/apt_sources.ts";
import { bookwormLines, debianBookwormRoot } from "../../lib/image/recipes/debian_bookworm.ts";
import { mmdebstrapCommand } from "../../lib/image/recipes/mmdebstrap.ts";
import type { Benchmark } from "./benchmark.ts";
import { timedMs } from "./benchmark.ts";
import { read, run } from "./commands.ts";

const MIB = 2 ** 20;

/** The recipe's own archive, made once and kept in the user's cache. */
async function recipeTar(): Promise<string> {
  const cache = Deno.env.get("XDG_CACHE_HOME") ?? `${Deno.env.get("HOME")}/.cache`;
  const path = `${cache}/banger-dev/bench/debian-bookworm.tar`;
  if (await Deno.stat(path).catch(() => undefined)) return path;
  await Deno.mkdir(`${cache}/banger-dev/bench`, { recursive: true });
  const command = mmdebstrapCommand(debianBookwormRoot(bookwormLines(await hostSources())), "root");
  const words = command.args.map((word) => `'${word.replaceAll("'", `'\\''`)}'`).join(" ");
  const variables = Object.entries(command.env ?? {}).map(([name, value]) => `${name}=${value}`).join(" ");
  await run("sh", ["-c", `${variables} mmdebstrap ${words} > '${path}.tmp' && mv '${path}.tmp' '${path}'`]);
  return path;
}

async function hostSources() {
  const directory = "/etc/apt/sources.list.d";
  const names = [...Deno.readDirSync(directory)].map(({ name }) => `${directory}/${name}`).sort();
  const paths = ["/etc/apt/sources.list", ...names.filter((name) => /\.(list|sources)$/.test(name))];
  const texts = await Promise.all(
    paths.map(async (path) => [path, await Deno.readTextFile(path).catch(() => "")] as const),
  );
  return texts.flatMap(([path, text]) => parseAptSources(path, text));
}

export const ext4: Benchmark = {
  name: "ext4",
  summary: "the recipe's tar to rootfs.ext4 (digest included), against `tar x` and `mke2fs -d`",
  maxRatio: 1,
  runs: 5,
  async prepare() {
    const tar = await recipeTar();
    const { size } = await Deno.stat(tar);
    const directory = await Deno.makeTempDir({ prefix: "banger-bench-" });
    const converter = new URL("./convert_tar.ts", import.meta.url).pathname;
    let peakMib = 0;
    const peer = [
      `rm -rf ${directory}/tree ${directory}/peer.ext4`,
      `mkdir ${directory}/tree`,
      `tar -xf ${tar} -C ${directory}/tree --numeric-owner --xattrs`,
      `mke2fs -q -t ext4 -d ${directory}/tree ${directory}/peer.ext4 2G`,
    ].join(" && ");
    return {
      async pair() {
        const oursMs = await timedMs(async () => {
          const peakKib = await read(Deno.execPath(), [
            "run",
            "-A",
            "--no-check",
            converter,
            tar,
            `${directory}/ours.ext4`,
          ]);
          peakMib = Math.max(peakMib, Number(peakKib) / 1024);
        });
        await run("e2fsck", ["-fn", `${directory}/ours.ext4`]);
        return { oursMs, peerMs: await timedMs(() => run("sh", ["-c", peer])) };
      },
      notes: () => [`${Math.round(size / MIB)} MiB of tar; peak memory of ours ${Math.round(peakMib)} MiB`],
      [Symbol.asyncDispose]: () => Deno.remove(directory, { recursive: true }),
    };
  },
};
