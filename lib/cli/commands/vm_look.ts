import type { ApiClient } from "../../api/client.ts";
import type { VmView } from "../../api/contract.ts";
import type { Terminal } from "../../base/terminal.ts";
import { formatBytes, MIB } from "../../base/units.ts";
import { type Command, flag, requiredArgument, textOption } from "../command.ts";
import { LineCleaner } from "../line_cleaner.ts";
import { age, fields, print, printJson, table, visibleLines } from "../output.ts";
import { stateText } from "./vm_list.ts";

const JSON_OPTION = { flags: "--json", summary: "as JSON" } as const;
const VM_ARGUMENT = { name: "vm", summary: "its name", completes: "vm" } as const;

const show: Command = {
  path: ["vm", "show"],
  summary: "show all about one VM",
  arguments: [VM_ARGUMENT],
  options: [JSON_OPTION],
  async run({ daemon, terminal, clock }, input) {
    const client = await daemon.connect();
    const name = requiredArgument(input, 0);
    const vm = await (await client.v1.vms[":name"].$get({ param: { name } })).json();
    if (flag(input, "json")) {
      await printJson(terminal, vm);
      return 0;
    }
    const events = await (await client.v1.vms[":name"].events.$get({ param: { name } })).json();
    await print(terminal, fields([...vmFields(vm, clock.now()), ...await linkFields(client, vm)]));
    for (const { time, event, detail } of events.slice(-10)) {
      await print(terminal, `  ${time}  ${event}${detail === undefined ? "" : `: ${detail}`}`);
    }
    return 0;
  },
};

/** How to reach its web servers from here: by name, where this host knows it, else with curl's own table. */
async function linkFields(client: ApiClient, vm: VmView): Promise<[string, string][]> {
  if (vm.state !== "running" || vm.network === "none") return [];
  const { ports, resolves } = await (await client.v1.vms[":name"].ports.$get({ param: { name: vm.name } }))
    .json();
  return ports.filter(({ url, isPublished }) => url !== undefined && !isPublished)
    .map(({ url, guestPort, hostPort, hostAddress }) => [
      `Port ${guestPort}`,
      resolves || hostPort === undefined
        ? url!
        : `curl --resolve ${vm.name}.vm:${hostPort}:${hostAddress} http://${vm.name}.vm:${hostPort}`,
    ]);
}

function vmFields(vm: VmView, nowMs: number): [string, string | undefined][] {
  return [
    ["Name", vm.name],
    ["Id", vm.id],
    ["State", vm.brokenReason === undefined ? stateText(vm) : `${vm.state} (${vm.brokenReason})`],
    [
      "Removed",
      vm.removed &&
      `${vm.removed.at}, kept until ${vm.removed.keptUntil}; bring it back: banger vm restore ${vm.id}`,
    ],
    [
      "Paused",
      vm.paused && `${vm.paused.reason}, for ${age(vm.paused.since, nowMs)}; it goes on when there is room`,
    ],
    ["Last end", vm.lastExit],
    ["Image", vm.image],
    [
      "Image before",
      vm.previousImage && `${vm.previousImage}; back to it: banger vm set ${vm.name} --undo-image`,
    ],
    ["Kernel", `${vm.kernel}${waits(vm, "kernel")}`],
    ["CPUs", `${vm.cpus}${waits(vm, "cpus")}`],
    ["Memory", memoryText(vm)],
    ["Root disk", vm.rootDisk && `${vm.rootDisk}${vm.rootDiskReason ? ` (${vm.rootDiskReason})` : ""}`],
    ["Work disk", formatBytes(vm.workDiskBytes)],
    ["Disk used", formatBytes(vm.diskUsedBytes)],
    ["Network", vm.network],
    ["Address", vm.address],
    ["Transport", vm.transport],
    ["VMM", vm.vmm && `${vm.vmm.driver} with ${vm.vmm.acceleration} (${vm.vmm.reason}), pid ${vm.vmm.pid}`],
    ["Created", `${vm.createdAt} (${age(vm.createdAt, nowMs)} ago)`],
    ["Started", vm.startedAt && `${vm.startedAt} (${age(vm.startedAt, nowMs)} ago)`],
  ];
}

/** What was changed while it ran. */
function waits(vm: VmView, setting: string): string {
  return vm.waitingForRestart?.includes(setting) ? " from its next start on (banger vm restart)" : "";
}

function memoryText(vm: VmView): string {
  const used = vm.memoryUsedBytes === undefined
    ? ""
    : `, ${formatBytes(vm.memoryUsedBytes)} taken on the host`;
  return `${formatBytes(vm.memoryMib * MIB)}${waits(vm, "memoryMib")}${used}`;
}

const logs: Command = {
  path: ["vm", "logs"],
  summary: "print a VM's console",
  details: "Prints the last output of a VM's console, or with --events what happened to it.",
  arguments: [VM_ARGUMENT],
  options: [
    { flags: "-f, --follow", summary: "go on with what it prints, until it ends" },
    { flags: "-n, --lines <count>", summary: "the last lines only" },
    { flags: "--events", summary: "starts, stops and what went wrong" },
    JSON_OPTION,
  ],
  async run({ daemon, terminal }, input) {
    const client = await daemon.connect();
    const name = requiredArgument(input, 0);
    if (flag(input, "events")) {
      const events = await (await client.v1.vms[":name"].events.$get({ param: { name } })).json();
      if (flag(input, "json")) await printJson(terminal, events);
      else {
        await print(
          terminal,
          table(["TIME", "EVENT", "DETAIL"], events.map((e) => [e.time, e.event, e.detail ?? ""])),
        );
      }
      return 0;
    }
    // Asked for before the past is: nothing is lost between the two.
    const live = flag(input, "follow")
      ? await client.v1.vms[":name"].console.follow.$get({ param: { name } })
      : undefined;
    const { text } = await (await client.v1.vms[":name"].console.$get({ param: { name } })).json();
    const lines = visibleLines(text).replace(/\n$/, "").split("\n");
    const count = Number(textOption(input, "lines") ?? lines.length);
    const kept = Number.isInteger(count) && count > 0 ? lines.slice(-count) : lines;
    if (flag(input, "json")) await printJson(terminal, { text: kept.join("\n") });
    else await print(terminal, kept.join("\n"));
    if (live?.body) await follow(terminal, live.body);
    return 0;
  },
};

/** Ctrl-C is how one leaves it. */
async function follow(terminal: Terminal, body: ReadableStream<Uint8Array>): Promise<void> {
  const ended = new AbortController();
  using _interrupt = terminal.onSignal("SIGINT", () => ended.abort());
  using _terminate = terminal.onSignal("SIGTERM", () => ended.abort());
  const reader = body.getReader();
  ended.signal.addEventListener("abort", () => void reader.cancel().catch(() => {}));
  const lines = new LineCleaner();
  for (let next = await reader.read(); !next.done; next = await reader.read()) {
    const text = lines.push(next.value);
    if (text) await terminal.writeStdout(new TextEncoder().encode(text));
  }
  await terminal.writeStdout(new TextEncoder().encode(lines.end()));
}

export const VM_LOOK_COMMANDS: readonly Command[] = [show, logs];
