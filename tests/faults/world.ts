/** A home of its own with a daemon that is killed and started again, as rounds of faults need it. */
import { type ApiClient, apiClient, followOperation } from "../../lib/api/client.ts";
import type { OperationView } from "../../lib/api/contract.ts";
import { type Paths, resolvePaths } from "../../lib/store/paths.ts";
import { realHost } from "../../lib/sys/host.ts";
import { unixFetch } from "../../lib/sys/unix_fetch.ts";
import { buildKit, type Kit } from "./kit.ts";
import { KERNEL, OTHER_KERNEL } from "./names.ts";
import type { Plan } from "./gate.ts";

export const host = realHost();
const START_TIMEOUT_MS = 120_000;

/** How a daemon came up. */
export interface Start {
  /** From its start to its first answer, less what it waited for a processor: others' work is not its own. */
  readonly ownMs: number;
}

export interface Report {
  readonly hasFired: boolean;
  readonly counts: Readonly<Record<string, number>>;
  readonly rss: number;
  readonly heapUsed: number;
  readonly descriptors: number;
}

/** What QEMU is: a small program that stands in for it, or the real one with a tiny guest. */
export type VmmKind = "stand-in" | "real";

export class World implements AsyncDisposable {
  readonly home: string;
  readonly paths: Paths;
  readonly kit: Kit;
  readonly #environment: Record<string, string>;
  #daemon: Daemon | undefined;

  private constructor(home: string, kit: Kit, vmm: VmmKind) {
    this.home = home;
    this.kit = kit;
    this.#environment = {
      HOME: home,
      XDG_RUNTIME_DIR: `${home}/run`,
      PATH: `${kit.directory}/${vmm}:${Deno.env.get("PATH")}`,
    };
    this.paths = resolvePaths((name) => this.#environment[name], Deno.uid() ?? 0);
  }

  static async open(vmm: VmmKind): Promise<World> {
    const kit = await buildKit();
    const home = await Deno.makeTempDir({ prefix: "bf-" });
    await Deno.mkdir(`${home}/run`, { mode: 0o700 });
    const world = new World(home, kit, vmm);
    for (const name of [KERNEL, OTHER_KERNEL]) await kit.installKernel(world.paths, vmm, name);
    return world;
  }

  get client(): ApiClient {
    return this.#running.client;
  }

  /** Its process, while it runs. */
  get pid(): number {
    return this.#running.child.pid;
  }

  /** Starts a daemon. @returns undefined where it ended before its first answer */
  async start(plan: Plan = { kind: "none" }): Promise<Start | undefined> {
    const startedAtMs = performance.now();
    const daemon = new Daemon(this.kit.daemon, this.paths, {
      ...this.#environment,
      BANGER_FAULT_PLAN: JSON.stringify(plan),
    });
    this.#daemon = daemon;
    for (;;) {
      if (await daemon.answers()) {
        return { ownMs: performance.now() - startedAtMs - await daemon.processorWaitMs() };
      }
      if (daemon.hasEnded) return undefined;
      if (performance.now() - startedAtMs > START_TIMEOUT_MS) throw new Error("the daemon does not answer");
      await host.clock.sleep(5);
    }
  }

  /** From now on. */
  async arm(plan: Plan): Promise<void> {
    await this.#running.order({ plan });
  }

  /** What passed the gate since `arm`. */
  async report(): Promise<Report> {
    return await this.#running.order({ report: true });
  }

  /** As power loss is for a process. Fine if it has ended. */
  async kill(): Promise<void> {
    await this.#daemon?.kill();
    this.#daemon = undefined;
  }

  /** Whether the daemon ends within that time. */
  async hasEndedWithin(ms: number): Promise<boolean> {
    const daemon = this.#running;
    for (const deadlineMs = performance.now() + ms; !daemon.hasEnded && performance.now() < deadlineMs;) {
      await host.clock.sleep(2);
    }
    return daemon.hasEnded;
  }

  /** Follows an operation to its end. @throws {BangerError} its failure; `daemon_unavailable`, `connection_failed` */
  async finish(begun: Promise<{ json(): Promise<OperationView> }>): Promise<void> {
    await followOperation(this.client, await (await begun).json(), () => {});
  }

  /** Processes that name this home, the daemon left out. */
  async processes(): Promise<{ pid: number; commandLine: string }[]> {
    const found: { pid: number; commandLine: string }[] = [];
    for await (const { name } of Deno.readDir("/proc")) {
      if (!/^\d+$/.test(name) || Number(name) === this.#daemon?.child.pid) continue;
      const text = await Deno.readTextFile(`/proc/${name}/cmdline`).catch(() => "");
      if (text.includes(`${this.home}/`)) {
        found.push({ pid: Number(name), commandLine: text.replaceAll("\0", " ") });
      }
    }
    return found;
  }

  get #running(): Daemon {
    if (this.#daemon) return this.#daemon;
    throw new Error("no daemon runs");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
    for (const { pid } of await this.processes()) {
      const identity = await host.processes.identify(pid);
      if (!identity) continue;
      await host.processes.signal(identity, "SIGKILL");
      await host.processes.waitForExit(identity, 5000);
    }
    await Deno.remove(this.home, { recursive: true });
  }
}

class Daemon {
  readonly child: Deno.ChildProcess;
  readonly client: ApiClient;
  readonly #fetch: ReturnType<typeof unixFetch>;
  readonly #orders: WritableStreamDefaultWriter<Uint8Array>;
  readonly #answers: ReadableStreamDefaultReader<string>;
  #text = "";
  hasEnded = false;

  constructor(program: string, paths: Paths, env: Record<string, string>) {
    const script = `exec "$0" 2>>"$1"`;
    Deno.mkdirSync(paths.stateDirectory, { recursive: true, mode: 0o700 });
    this.child = new Deno.Command("sh", {
      args: ["-c", script, program, paths.daemonLog],
      env,
      clearEnv: true,
      stdin: "piped",
      stdout: "piped",
    }).spawn();
    void this.child.status.then(() => this.hasEnded = true);
    this.#orders = this.child.stdin.getWriter();
    this.#answers = this.child.stdout.pipeThrough(new TextDecoderStream()).getReader();
    this.#fetch = unixFetch(paths.daemonSocket);
    this.client = apiClient(this.#fetch);
  }

  /** How long its main thread was ready to run and did not. Source: Linux Documentation/scheduler/sched-stats */
  async processorWaitMs(): Promise<number> {
    const { pid } = this.child;
    // Not every kernel keeps count; and it may have ended.
    const text = await host.files.readText(`/proc/${pid}/task/${pid}/schedstat`, 1024).catch(() => "0 0 0");
    return Number(text.split(" ")[1]) / 1e6;
  }

  async answers(): Promise<boolean> {
    try {
      const response = await this.#fetch("http://banger/v1/version", {});
      return ((await response.json()) as { pid: number }).pid === this.child.pid;
    } catch {
      return false; // not yet, or not any more
    }
  }

  async order(order: object): Promise<Report> {
    await this.#orders.write(new TextEncoder().encode(`${JSON.stringify(order)}\n`));
    while (!this.#text.includes("\n")) {
      const { value, done } = await this.#answers.read();
      if (done) throw new Error("the daemon ended before it took an order");
      this.#text += value;
    }
    const [line, ...rest] = this.#text.split("\n");
    this.#text = rest.join("\n");
    return JSON.parse(line!) as Report;
  }

  async kill(): Promise<void> {
    if (!this.hasEnded) this.child.kill("SIGKILL");
    await this.child.status;
    await this.#orders.abort().catch(() => {});
    await this.#answers.cancel().catch(() => {});
  }
}
