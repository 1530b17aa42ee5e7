import type { ApiClient } from "../../api/client.ts";
import type { VmHealthView, VmStatsView } from "../../api/vm_contract.ts";
import { BangerError, ERRORS } from "../../base/errors.ts";
import { formatBytes, formatDuration, MIB } from "../../base/units.ts";
import { type Command, type Context, flag, type Input, textOption } from "../command.ts";
import { VM_ARGUMENTS } from "../each_vm.ts";
import { fields, print, printJson, table, visible } from "../output.ts";

/** Between the two looks that tell how busy a VM is. */
const SAMPLE_MS = 500;
const DEFAULT_INTERVAL_SECONDS = 2;
const JSON_OPTION = { flags: "--json", summary: "as JSON" } as const;
/** Home, then whatever is below goes. */
const CLEAR_SCREEN = "\u001b[H\u001b[J";

const stats: Command = {
  path: ["vm", "stats"],
  summary: "show what running VMs use",
  details:
    "Shows what VMs use: processor time and memory as this host sees them, and in brackets what the guest\n" +
    "itself says is in use. With --watch again and again; Ctrl-C ends it.",
  arguments: [{ ...VM_ARGUMENTS, summary: "their names (default: all that run)", optional: true }],
  options: [
    { flags: "-w, --watch", summary: "again and again" },
    { flags: "--interval <seconds>", summary: `with --watch (default: ${DEFAULT_INTERVAL_SECONDS})` },
    { flags: "--json", summary: "as JSON; with --watch one list a line" },
  ],
  async run(context, input) {
    const intervalMs = intervalOf(input);
    const client = await context.daemon.connect();
    const isWatching = flag(input, "watch");
    const ended = new AbortController();
    using _interrupt = isWatching ? context.terminal.onSignal("SIGINT", () => ended.abort()) : undefined;
    let before = await lookAt(client, input);
    let pauseMs = SAMPLE_MS;
    do {
      await context.clock.sleep(pauseMs, ended.signal).catch(() => {}); // the loop's condition sees it
      if (ended.signal.aborted) break;
      const now = await lookAt(client, input);
      await show(context, input, withLoad(before, now));
      before = now;
      pauseMs = intervalMs;
    } while (isWatching);
    return 0;
  },
};

function intervalOf(input: Input): number {
  const text = textOption(input, "interval") ?? String(DEFAULT_INTERVAL_SECONDS);
  const seconds = Number(text);
  if (seconds >= 0.1 && seconds <= 3600) return seconds * 1000;
  throw new BangerError(
    "invalid_argument",
    `Cannot use ${JSON.stringify(text)} for --interval`,
    "Give seconds, from 0.1 to 3600",
  );
}

async function lookAt(client: ApiClient, input: Input): Promise<VmStatsView[]> {
  const given = input.arguments.filter((name) => name !== undefined);
  const names = given.length > 0
    ? given
    : (await (await client.v1.vms.$get({ query: { scope: "running" } })).json()).map(({ name }) => name);
  const looks = await Promise.all(
    [...new Set(names)].map(async (name) => {
      try {
        return await (await client.v1.vms[":name"].stats.$get({ param: { name } })).json();
      } catch (thrown) {
        // It ended between the list and this; one that was asked for by name is missed.
        if (given.length === 0 && thrown instanceof BangerError && thrown.code === "not_found") {
          return undefined;
        }
        throw thrown;
      }
    }),
  );
  return looks.filter((look) => look !== undefined);
}

export type Load = VmStatsView & {
  /** 100 is one processor; absent where there was no earlier look at the same machine. */
  readonly cpuPercent?: number;
};

/** Exported for tests. */
export function withLoad(before: readonly VmStatsView[], now: readonly VmStatsView[]): Load[] {
  return now.map((look) => {
    const earlier = before.find(({ name }) => name === look.name);
    if (earlier?.cpuTimeMs === undefined || look.cpuTimeMs === undefined) return look;
    const usedMs = look.cpuTimeMs - earlier.cpuTimeMs;
    const passedMs = look.atMs - earlier.atMs;
    // Less than before: it was restarted in between.
    return usedMs < 0 || passedMs <= 0
      ? look
      : { ...look, cpuPercent: Math.round(1000 * usedMs / passedMs) / 10 };
  });
}

async function show({ terminal }: Context, input: Input, loads: readonly Load[]): Promise<void> {
  const isWatching = flag(input, "watch");
  if (flag(input, "json")) {
    if (isWatching) await print(terminal, JSON.stringify(loads));
    else await printJson(terminal, loads);
    return;
  }
  const clear = isWatching && terminal.stdoutIsTerminal ? CLEAR_SCREEN : "";
  await terminal.writeStdout(new TextEncoder().encode(`${clear}${statsTable(loads)}\n`));
}

/** Exported for tests. */
export function statsTable(loads: readonly Load[]): string {
  return table(
    ["NAME", "STATE", "CPU", "LOAD", "MEMORY (IN GUEST)", "DISK", "/", "/ROOT", "PROCESSES"],
    loads.map((load) => [
      load.name,
      load.state,
      load.cpuPercent === undefined ? "-" : `${load.cpuPercent.toFixed(1)}%`,
      load.guest ? load.guest.load[0]!.toFixed(2) : "-",
      memoryText(load),
      formatBytes(load.diskUsedBytes),
      filesystemText(load, "/"),
      filesystemText(load, "/root"),
      load.guest ? String(load.guest.processes) : "-",
    ]),
  );
}

function memoryText({ memoryUsedBytes, memoryMib, guest }: Load): string {
  const host = memoryUsedBytes === undefined ? "-" : formatBytes(memoryUsedBytes);
  const inGuest = guest ? ` (${formatBytes(guest.memory.totalBytes - guest.memory.availableBytes)})` : "";
  return `${host} / ${formatBytes(memoryMib * MIB)}${inGuest}`;
}

function filesystemText({ guest }: Load, path: string): string {
  const found = guest?.filesystems.find((filesystem) => filesystem.path === path);
  if (!found || found.totalBytes === 0) return "-";
  return `${Math.round(100 - 100 * found.availableBytes / found.totalBytes)}% of ${
    formatBytes(found.totalBytes)
  }`;
}

const health: Command = {
  path: ["vm", "health"],
  summary: "show whether VMs work, with the versions of their agents",
  details:
    "Asks the machine and the agent of each VM. The exit code is 0 where all work, 4 where one does not run,\n" +
    "7 where one runs and does not work.",
  arguments: [{ ...VM_ARGUMENTS, summary: "their names (default: all that run)", optional: true }],
  options: [JSON_OPTION],
  async run({ daemon, terminal }, input) {
    const client = await daemon.connect();
    const given = input.arguments.filter((name) => name !== undefined);
    const names = given.length > 0
      ? given
      : (await (await client.v1.vms.$get({ query: { scope: "running" } })).json()).map(({ name }) => name);
    const all = await Promise.all(
      [...new Set(names)].map(async (name) =>
        await (await client.v1.vms[":name"].health.$get({ param: { name } })).json()
      ),
    );
    if (flag(input, "json")) await printJson(terminal, all);
    else await print(terminal, all.map(healthText).join("\n\n"));
    return healthExitCode(all);
  },
};

/** Exported for tests. */
export function healthExitCode(all: readonly VmHealthView[]): number {
  if (all.every(({ isHealthy }) => isHealthy)) return 0;
  const runs = all.some(({ isHealthy, vmm }) => !isHealthy && vmm !== undefined);
  return runs ? ERRORS.guest_unreachable.exit : ERRORS.wrong_state.exit;
}

/** Exported for tests. */
export function healthText({ name, state, isHealthy, problem, vmm, agent }: VmHealthView): string {
  return fields([
    ["VM", name],
    ["Health", isHealthy ? "it works" : `it does not work: ${problem ?? "nobody knows why"}`],
    ["State", state],
    ["Machine", vmm && `${vmm.driver}, ${vmm.status}, pid ${vmm.pid}`],
    ["Agent", agent && agentText(agent)],
    ["Guest", agent && `up for ${formatDuration(agent.uptimeSeconds * 1000)}, boot ${agent.bootId}`],
  ]);
}

function agentText(
  { version, commit, isOurs, answeredWithinMs }: NonNullable<VmHealthView["agent"]>,
): string {
  const origin = isOurs ? "the same build as this banger" : "another build than this banger's";
  return visible(`${version} (${commit}), ${origin}; answered within ${answeredWithinMs} ms`);
}

export const VM_STATS_COMMANDS: readonly Command[] = [stats, health];
