import { type Benchmark, timedMs } from "./benchmark.ts";
import { BANGER, run } from "./commands.ts";

/** Of the single executable. The project's own bound. */
const MAX_EXECUTABLE_BYTES = 130_000_000;
/** What `banger doctor` may take, whatever the host. */
const MAX_DOCTOR_MS = 2000;

export const release: readonly Benchmark[] = [
  {
    name: "version",
    summary: "`banger version`, against `deno eval 0`",
    maxRatio: 1.5,
    runs: 21,
    async prepare() {
      const { size } = await Deno.stat(BANGER);
      const verdict = size <= MAX_EXECUTABLE_BYTES ? "holds" : "MISSED";
      return {
        pair: async () => ({
          oursMs: await timedMs(() => run(BANGER, ["version"])),
          peerMs: await timedMs(() => run(Deno.execPath(), ["eval", "0"])),
        }),
        notes: () => [`the executable has ${(size / 1e6).toFixed(1)} MB, at most 130: ${verdict}`],
        [Symbol.asyncDispose]: () => Promise.resolve(),
      };
    },
  },
  {
    name: "doctor",
    summary: "`banger doctor`, against two seconds",
    maxRatio: 1,
    runs: 9,
    prepare: () =>
      Promise.resolve({
        // It ends with 1 where something is limited.
        pair: async () => ({
          oursMs: await timedMs(() => run("sh", ["-c", '"$0" doctor || [ $? = 1 ]', BANGER])),
          peerMs: MAX_DOCTOR_MS,
        }),
        [Symbol.asyncDispose]: () => Promise.resolve(),
      }),
  },
];
