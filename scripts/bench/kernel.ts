import type { Benchmark } from "./benchmark.ts";
import { timedMs } from "./benchmark.ts";
import { BANGER, read, removing, run } from "./commands.ts";

const VM = "bench-kernel";
const OURS = "banger";
const DEBIANS = "debian";
/** What `deno task kernel:build` leaves. */
const BUILT = new URL("../../build/kernel/banger", import.meta.url).pathname;

interface Listed {
  readonly name: string;
}

/** Both kernels into the bench's own home, where they are not there already. */
async function provideKernels(): Promise<void> {
  const listed = JSON.parse(await read(BANGER, ["kernel", "list", "--json"])) as readonly Listed[];
  const has = (wanted: string) => listed.some(({ name }) => name === wanted);
  if (!has(DEBIANS)) await run(BANGER, ["kernel", "pull", DEBIANS]);
  if (has(OURS)) return;
  const directory = Deno.env.get("BANGER_BENCH_KERNEL") ?? BUILT;
  if (!(await Deno.stat(`${directory}/metadata.json`).catch(() => undefined))) {
    throw new Error(
      `there is no guest kernel in ${directory}: deno task kernel:build, or BANGER_BENCH_KERNEL=DIR`,
    );
  }
  await run(BANGER, ["kernel", "import", OURS, "--from", directory]);
}

async function coldBootMs(kernel: string): Promise<number> {
  await using _vm = removing(VM);
  const ms = await timedMs(async () => {
    await run(BANGER, ["vm", "create", "--name", VM, "--kernel", kernel]);
  });
  await read(BANGER, ["vm", "exec", VM, "--", "true"]);
  return ms;
}

export const kernel: Benchmark = {
  name: "kernel",
  summary: "`banger vm create` to the first answer of the agent: our guest kernel against Debian's",
  maxRatio: 0.7,
  runs: 5,
  async prepare() {
    await provideKernels();
    return {
      pair: async () => ({ oursMs: await coldBootMs(OURS), peerMs: await coldBootMs(DEBIANS) }),
      [Symbol.asyncDispose]: () => Promise.resolve(),
    };
  },
};
