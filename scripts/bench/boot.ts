import { AgentClient } from "../../lib/guest/client/agent_client.ts";
import { realHost } from "../../lib/sys/host.ts";
import type { Benchmark } from "./benchmark.ts";
import { timedMs } from "./benchmark.ts";
import { BANGER, read, removing, run, type ShownVm, showVm } from "./commands.ts";

const VM = "bench-boot";
const BOOT_TIMEOUT_MS = 120_000;

/** A machine of banger's, as the command line that QEMU was given and a copy of its disks. */
export interface Recorded {
  readonly argv: readonly string[];
  readonly runtime: string;
  readonly relay: readonly string[];
}

async function processArguments(pid: number): Promise<string[]> {
  return (await Deno.readTextFile(`/proc/${pid}/cmdline`)).split("\0").slice(0, -1);
}

async function relayArguments(runtime: string): Promise<string[]> {
  for await (const { name } of Deno.readDir("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    const argv = await processArguments(Number(name)).catch((): string[] => []);
    if (argv.includes("relay") && argv.some((word) => word.startsWith(runtime))) return argv;
  }
  throw new Error(`no relay serves ${runtime}`);
}

/** The command lines of a running machine, rewritten for disks and sockets in `directory`. */
async function record(vm: ShownVm, directory: string): Promise<Recorded> {
  const runtime = vm.agent.path.replace("/agent.sock", "");
  const argv = await processArguments(vm.vmm.pid);
  const vmDirectory = /"filename":"([^"]*\/vms\/[^"/]+)\//.exec(argv.join(" "))![1]!;
  const relay = await relayArguments(runtime);
  const rewrite = (word: string) => word.replaceAll(vmDirectory, directory).replaceAll(runtime, directory);
  return { argv: argv.map(rewrite), runtime: directory, relay: relay.map(rewrite) };
}

/** A machine that banger made and that is gone again, to be had as often as one likes. */
export interface RecordedMachine {
  /** With disks that no machine has booted from yet, as `vm create` has them. */
  copy(name: string): Promise<Recorded>;
}

/** @param directory for its disks and their copies */
export async function recordMachine(vmName: string, directory: string): Promise<RecordedMachine> {
  const [fresh, placeholder] = [`${directory}/fresh`, `${directory}/copy-of-it`];
  await Deno.mkdir(fresh);
  await using _vm = removing(vmName);
  await run(BANGER, ["vm", "create", "--name", vmName, "--no-start"]);
  const { stdout } = await new Deno.Command(BANGER, { args: ["daemon", "status", "--json"] }).output();
  const { stateDirectory } = JSON.parse(new TextDecoder().decode(stdout)) as { stateDirectory: string };
  const { id } = await showVm(vmName);
  await run("sh", ["-c", `cp --sparse=always ${stateDirectory}/vms/${id}/* ${fresh}/`]);
  await run(BANGER, ["vm", "start", vmName]);
  const recorded = await record(await showVm(vmName), placeholder);
  await run("sh", ["-c", `cp --sparse=always ${stateDirectory}/vms/${id}/config.tar ${fresh}/`]);
  return {
    async copy(name) {
      const runtime = `${directory}/${name}`;
      await Deno.remove(runtime, { recursive: true }).catch(() => {});
      await run("cp", ["-r", "--sparse=always", fresh, runtime]);
      const rewrite = (word: string) => word.replaceAll(placeholder, runtime);
      return { argv: recorded.argv.map(rewrite), runtime, relay: recorded.relay.map(rewrite) };
    },
  };
}

/** A bare QEMU whose agent has answered. */
export interface BareMachine extends AsyncDisposable {
  /** From its start to that answer. */
  readonly tookMs: number;
}

export async function startBare({ argv, runtime, relay }: Recorded): Promise<BareMachine> {
  await using started = new AsyncDisposableStack();
  const [relayProgram, ...relayArgs] = relay;
  const relaying = new Deno.Command(relayProgram!, { args: relayArgs, stdout: "null", stderr: "null" })
    .spawn();
  started.defer(async () => {
    relaying.kill("SIGTERM");
    await relaying.status;
  });
  while (!(await Deno.stat(`${runtime}/agent.sock`).catch(() => undefined))) {
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  const [program, ...args] = argv;
  const startMs = performance.now();
  const machine = new Deno.Command(program!, { args, stdin: "null", stdout: "null", stderr: "null" }).spawn();
  started.defer(async () => {
    machine.kill("SIGKILL");
    await machine.status;
  });
  await new AgentClient(realHost(), { kind: "hybrid", path: `${runtime}/agent.sock` }).untilHealthy(
    BOOT_TIMEOUT_MS,
  );
  const tookMs = performance.now() - startMs;
  const owned = started.move();
  return { tookMs, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

async function bootBare(recorded: Recorded): Promise<number> {
  await using machine = await startBare(recorded);
  return machine.tookMs;
}

export const boot: Benchmark = {
  name: "boot",
  summary:
    "`banger vm create` to the first answer of the agent, against a bare QEMU with the same kernel, initramfs and disks",
  maxRatio: 1.1,
  // One minute of a machine that others use as well is unlike the next.
  runs: 21,
  async prepare() {
    const directory = await Deno.makeTempDir({ prefix: "banger-bench-" });
    const machine = await recordMachine(VM, directory);
    const ours = async () => {
      await using _vm = removing(VM);
      const tookMs = await timedMs(async () => {
        await run(BANGER, ["vm", "create", "--name", VM]);
      });
      await read(BANGER, ["vm", "exec", VM, "--", "true"]);
      return tookMs;
    };
    const bare = async () => await bootBare(await machine.copy("run"));
    let isOursFirst = false;
    return {
      // In turn: neither is always the one that follows the other's removal.
      async pair() {
        isOursFirst = !isOursFirst;
        if (isOursFirst) return { oursMs: await ours(), peerMs: await bare() };
        const peerMs = await bare();
        return { oursMs: await ours(), peerMs };
      },
      [Symbol.asyncDispose]: () => Deno.remove(directory, { recursive: true }),
    };
  },
};
