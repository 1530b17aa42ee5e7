import type { VmView } from "../../api/contract.ts";
import { formatBytes, MIB } from "../../base/units.ts";
import { type Command, flag, requiredArgument, textOption } from "../command.ts";
import { age, fields, print, printJson, table, visibleLines } from "../output.ts";

const JSON_OPTION = { flags: "--json", summary: "as JSON" } as const;
const VM_ARGUMENT = { name: "vm", summary: "its name", completes: "vm" } as const;

const list: Command = {
  path: ["vm", "list"],
  aliases: [["ps"], ["vm", "ls"], ["vm", "ps"]],
  summary: "list running VMs",
  options: [{ flags: "-a, --all", summary: "those that do not run, too" }, {
    flags: "-q, --quiet",
    summary: "names only",
  }, JSON_OPTION],
  async run({ daemon, terminal, clock }, input) {
    const client = await daemon.connect();
    const all = await (await client.v1.vms.$get()).json();
    const vms = flag(input, "all")
      ? all
      : all.filter(({ state }) => state !== "stopped" && state !== "suspended");
    if (flag(input, "json")) await printJson(terminal, vms);
    else if (flag(input, "quiet")) await print(terminal, vms.map(({ name }) => name).join("\n"));
    else await print(terminal, vmTable(vms, clock.now()));
    return 0;
  },
};

function vmTable(vms: readonly VmView[], nowMs: number): string {
  return table(
    ["NAME", "STATE", "IMAGE", "CPUS", "MEMORY", "DISK USED", "ADDRESS", "AGE"],
    vms.map((vm) => [
      vm.name,
      vm.state,
      vm.image,
      String(vm.cpus),
      formatBytes(vm.memoryMib * MIB),
      formatBytes(vm.diskUsedBytes),
      vm.address,
      age(vm.createdAt, nowMs),
    ]),
  );
}

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
    await print(terminal, fields(vmFields(vm, clock.now())));
    for (const { time, event, detail } of events.slice(-10)) {
      await print(terminal, `  ${time}  ${event}${detail === undefined ? "" : `: ${detail}`}`);
    }
    return 0;
  },
};

function vmFields(vm: VmView, nowMs: number): [string, string | undefined][] {
  return [
    ["Name", vm.name],
    ["Id", vm.id],
    ["State", vm.brokenReason === undefined ? vm.state : `${vm.state} (${vm.brokenReason})`],
    ["Last end", vm.lastExit],
    ["Image", vm.image],
    ["Kernel", vm.kernel],
    ["CPUs", String(vm.cpus)],
    ["Memory", formatBytes(vm.memoryMib * MIB)],
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

const logs: Command = {
  path: ["vm", "logs"],
  summary: "print a VM's console",
  details: "Prints the last output of a VM's console, or with --events what happened to it.",
  arguments: [VM_ARGUMENT],
  options: [
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
    const { text } = await (await client.v1.vms[":name"].console.$get({ param: { name } })).json();
    const lines = visibleLines(text).replace(/\n$/, "").split("\n");
    const count = Number(textOption(input, "lines") ?? lines.length);
    const kept = Number.isInteger(count) && count > 0 ? lines.slice(-count) : lines;
    if (flag(input, "json")) await printJson(terminal, { text: kept.join("\n") });
    else await print(terminal, kept.join("\n"));
    return 0;
  },
};

export const VM_LOOK_COMMANDS: readonly Command[] = [list, show, logs];
