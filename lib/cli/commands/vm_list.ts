import type { VmView } from "../../api/contract.ts";
import { BangerError } from "../../base/errors.ts";
import { formatBytes, formatDuration, MIB } from "../../base/units.ts";
import { type Command, flag, type Input } from "../command.ts";
import { age, print, printJson, table } from "../output.ts";

/** VMs, those that run unless told otherwise. */
const list: Command = {
  path: ["vm", "list"],
  aliases: [["ps"], ["vm", "ls"], ["vm", "ps"]],
  summary: "list running VMs",
  details:
    "Lists VMs that run, or with --all those too that don't. MEMORY and DISK are what they take on this\n" +
    "host, of what they may.",
  options: [
    { flags: "-a, --all", summary: "those that do not run, too" },
    { flags: "-l, --latest", summary: "only the one that was made last, whether it runs or not" },
    { flags: "--removed", summary: "what is in the trash, and for how long yet" },
    { flags: "-q, --quiet", summary: "names only (with --removed: ids)" },
    { flags: "--json", summary: "as JSON" },
  ],
  async run({ daemon, terminal, clock }, input) {
    const scope = listScope(input);
    const client = await daemon.connect();
    const found = await (await client.v1.vms.$get({ query: { scope } })).json();
    const vms = flag(input, "latest") ? latest(found) : found;
    if (flag(input, "json")) await printJson(terminal, vms);
    else if (flag(input, "quiet")) {
      const names = vms.map(({ id, name }) => scope === "removed" ? id : name);
      if (names.length > 0) await print(terminal, names.join("\n"));
    } else if (scope === "removed") await print(terminal, removedTable(vms, clock.now()));
    else await print(terminal, vmTable(vms, clock.now()));
    return 0;
  },
};

/** @throws {BangerError} `invalid_argument` for flags that exclude each other */
function listScope(input: Input): "all" | "running" | "removed" {
  if (!flag(input, "removed")) return flag(input, "all") || flag(input, "latest") ? "all" : "running";
  for (const other of ["all", "latest"]) {
    if (flag(input, other)) {
      throw new BangerError(
        "invalid_argument",
        `Cannot list with --removed and --${other}: what is in the trash is listed alone`,
      );
    }
  }
  return "removed";
}

/** @returns none or one */
function latest(vms: readonly VmView[]): VmView[] {
  return vms.toSorted((a, b) => Date.parse(b.createdAt) - Date.parse(a.createdAt)).slice(0, 1);
}

/** One that stands still does not look as if it ran. */
export function stateText({ state, paused }: VmView): string {
  return paused ? `${state} (paused: host disk)` : state;
}

/** Exported for tests. */
export function vmTable(vms: readonly VmView[], nowMs: number): string {
  return table(
    ["NAME", "STATE", "IMAGE", "CPUS", "MEMORY", "DISK", "ADDRESS", "AGE"],
    vms.map((vm) => [
      vm.name,
      stateText(vm),
      vm.image,
      String(vm.cpus),
      usedOf(vm.memoryUsedBytes, vm.memoryMib * MIB),
      usedOf(vm.diskUsedBytes, undefined),
      vm.address,
      age(vm.createdAt, nowMs),
    ]),
  );
}

/** Exported for tests. */
export function removedTable(vms: readonly VmView[], nowMs: number): string {
  const oldestLast = vms.toSorted((a, b) =>
    Date.parse(b.removed?.at ?? "") - Date.parse(a.removed?.at ?? "")
  );
  return table(
    ["NAME", "ID", "IMAGE", "DISK", "REMOVED", "GONE IN"],
    oldestLast.map((vm) => [
      vm.name,
      vm.id,
      vm.image,
      formatBytes(vm.diskUsedBytes),
      vm.removed ? `${age(vm.removed.at, nowMs)} ago` : "",
      vm.removed ? formatDuration(Math.max(0, Date.parse(vm.removed.keptUntil) - nowMs)) : "",
    ]),
  );
}

function usedOf(usedBytes: number | undefined, allBytes: number | undefined): string {
  if (allBytes === undefined) return formatBytes(usedBytes ?? 0);
  return usedBytes === undefined
    ? `- / ${formatBytes(allBytes)}`
    : `${formatBytes(usedBytes)} / ${formatBytes(allBytes)}`;
}

export const VM_LIST_COMMANDS: readonly Command[] = [list];
