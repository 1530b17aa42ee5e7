import type { Benchmark } from "./benchmark.ts";
import { timedMs } from "./benchmark.ts";
import { BANGER, run } from "./commands.ts";

export const cli: Benchmark = {
  name: "cli",
  summary: "`banger ps` with a running daemon, against `deno eval 0`",
  maxRatio: 2.5,
  runs: 21,
  async prepare() {
    await run(BANGER, ["daemon", "start"]);
    return {
      pair: async () => ({
        oursMs: await timedMs(() => run(BANGER, ["ps"])),
        peerMs: await timedMs(() => run(Deno.execPath(), ["eval", "0"])),
      }),
      [Symbol.asyncDispose]: () => Promise.resolve(),
    };
  },
};
