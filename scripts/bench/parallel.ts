import { type Benchmark, timedMs } from "./benchmark.ts";
import { bootBare, recordMachine } from "./boot.ts";
import { BANGER, removing, run } from "./commands.ts";

const COUNT = 8;
const NAMES = Array.from({ length: COUNT }, (_, index) => `bench-parallel-${index}`);

export const parallel: Benchmark = {
  name: "parallel",
  summary:
    `${COUNT} times \`banger vm create\` at once to the agents' answers, against ${COUNT} bare QEMUs at once`,
  maxRatio: 1.3,
  // A pair boots sixteen machines.
  runs: 2,
  isWarm: true,
  async prepare() {
    const directory = await Deno.makeTempDir({ prefix: "banger-bench-" });
    const machine = await recordMachine("bench-parallel", directory);
    return {
      async pair() {
        let oursMs: number;
        {
          await using created = new AsyncDisposableStack();
          for (const name of NAMES) created.use(removing(name));
          oursMs = await timedMs(() =>
            Promise.all(NAMES.map((name) => run(BANGER, ["vm", "create", "--name", name])))
          );
        }
        const copies = await Promise.all(NAMES.map((name) => machine.copy(name)));
        const peerMs = await timedMs(() => Promise.all(copies.map(bootBare)));
        return { oursMs, peerMs };
      },
      [Symbol.asyncDispose]: () => Deno.remove(directory, { recursive: true }),
    };
  },
};
