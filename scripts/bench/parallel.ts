import { type Benchmark, type Sample, timedMs } from "./benchmark.ts";
import { type BareMachine, type RecordedMachine, recordMachine, startBare } from "./boot.ts";
import { BANGER, removing } from "./commands.ts";

const COUNT = 8;
const NAMES = Array.from({ length: COUNT }, (_, index) => `bench-parallel-${index}`);
/** Emulated boots may hang on a crowded host, whoever starts them (docs/vmm.md). */
const TRIES = 3;

/** @returns whether the machine hung and was started anew */
async function create(name: string): Promise<boolean> {
  const args = ["vm", "create", "--name", name];
  const child = new Deno.Command(BANGER, { args, stdin: "null", stdout: "null", stderr: "piped" });
  const { code, stderr } = await child.output();
  const text = new TextDecoder().decode(stderr);
  if (code !== 0) throw new Error(`banger ${args.join(" ")} exited ${code}: ${text}`);
  return text.includes("the boot failed");
}

/** @returns undefined where a machine hung: that pair compares nothing */
async function measurePair(machine: RecordedMachine): Promise<Sample | undefined> {
  let hung: readonly boolean[] = [];
  let oursMs: number;
  {
    await using created = new AsyncDisposableStack();
    for (const name of NAMES) created.use(removing(name));
    oursMs = await timedMs(async () => hung = await Promise.all(NAMES.map(create)));
  }
  if (hung.includes(true)) return undefined;
  const copies = await Promise.all(NAMES.map((name) => machine.copy(name)));
  let boots: readonly PromiseSettledResult<BareMachine>[] = [];
  // As ours, they run on until all are up.
  const peerMs = await timedMs(async () => boots = await Promise.allSettled(copies.map(startBare)));
  for (const boot of boots) if (boot.status === "fulfilled") await boot.value[Symbol.asyncDispose]();
  return boots.every(({ status }) => status === "fulfilled") ? { oursMs, peerMs } : undefined;
}

export const parallel: Benchmark = {
  name: "parallel",
  summary:
    `${COUNT} times \`banger vm create\` at once to the agents' answers, against ${COUNT} bare QEMUs at once`,
  maxRatio: 1.3,
  // A pair boots sixteen machines.
  runs: 3,
  isWarm: true,
  async prepare() {
    const directory = await Deno.makeTempDir({ prefix: "banger-bench-" });
    const machine = await recordMachine("bench-parallel", directory);
    const notes: string[] = [];
    return {
      async pair() {
        for (let attempt = 0; attempt < TRIES; attempt++) {
          const sample = await measurePair(machine);
          if (sample) return sample;
          notes.push("a pair in which a machine hung was measured again");
        }
        throw new Error(`in each of ${TRIES} pairs a machine hung`);
      },
      notes: () => notes,
      [Symbol.asyncDispose]: () => Deno.remove(directory, { recursive: true }),
    };
  },
};
