import assert from "node:assert/strict";
import type { VmView } from "../../../lib/api/contract.ts";
import type { VmHealthView, VmStatsView } from "../../../lib/api/vm_contract.ts";
import { operationTable } from "../../../lib/cli/commands/operation.ts";
import { changeLines, changeTable } from "../../../lib/cli/commands/vm_change.ts";
import { removedTable, vmTable } from "../../../lib/cli/commands/vm_list.ts";
import { healthExitCode, healthText, statsTable, withLoad } from "../../../lib/cli/commands/vm_stats.ts";
import { LineCleaner } from "../../../lib/cli/line_cleaner.ts";

const NOW_MS = Date.parse("2026-01-10T00:00:00Z");
const VM = {
  id: "0123456789ab",
  name: "web",
  state: "running",
  image: "alpine-3.20",
  cpus: 2,
  memoryMib: 2048,
  memoryUsedBytes: 300 * 1024 ** 2,
  diskUsedBytes: 5 * 1024 ** 2,
  address: "127.42.0.1",
  createdAt: "2026-01-09T23:00:00Z",
} as VmView;

function lines(text: string): string[] {
  return text.split("\n").map((line) => line.replaceAll(/ {2,}/g, "|"));
}

Deno.test("vm list shows what is really used, and nothing for memory where nothing runs", () => {
  const { memoryUsedBytes: _used, ...stopped } = VM;
  const shown = lines(vmTable([VM, { ...stopped, state: "stopped" }], NOW_MS));
  assert.equal(shown[0], "NAME|STATE|IMAGE|CPUS|MEMORY|DISK|ADDRESS|AGE");
  assert.equal(shown[1], "web|running|alpine-3.20|2|300 MiB / 2 GiB|5 MiB|127.42.0.1|60 min");
  assert.equal(shown[2], "web|stopped|alpine-3.20|2|- / 2 GiB|5 MiB|127.42.0.1|60 min");
});

Deno.test("vm list --removed shows the last removed first, and how long each stays", () => {
  const removed = (at: string, keptUntil: string) => ({ ...VM, removed: { at, keptUntil } });
  const shown = lines(removedTable([
    removed("2026-01-08T00:00:00Z", "2026-01-09T00:00:00Z"),
    removed("2026-01-09T00:00:00Z", "2026-01-16T00:00:00Z"),
  ], NOW_MS));
  assert.equal(shown[0], "NAME|ID|IMAGE|DISK|REMOVED|GONE IN");
  assert.equal(shown[1], "web|0123456789ab|alpine-3.20|5 MiB|24 h ago|6 days");
  assert.match(shown[2]!, /\|48 h ago\|0\.0 s$|\|2 days ago\|0\.0 s$/);
});

Deno.test("a guest's escape sequences do not come through any table", () => {
  const evil = { ...VM, image: "\u001b]0;x\u0007\u202e" };
  const shown = vmTable([evil], NOW_MS);
  for (const character of ["\u001b", "\u0007", "\u202e"]) assert.ok(!shown.includes(character));
});

Deno.test("vm set says what holds now and what waits for a start", () => {
  const plan = [
    { setting: "disk", from: "8 GiB", to: "9 GiB", takesEffect: "now" },
    { setting: "cpus", from: "2", to: "4", takesEffect: "next start" },
  ] as const;
  assert.deepEqual(changeLines("web", plan), [
    "banger: disk: 8 GiB to 9 GiB",
    "banger: cpus: 2 to 4, from its next start on",
    "banger: start it anew for that: banger vm restart web",
  ]);
  assert.deepEqual(changeLines("web", plan.slice(0, 1)), ["banger: disk: 8 GiB to 9 GiB"]);
  assert.deepEqual(changeLines("web", []), ["banger: VM web is so already"]);
  assert.deepEqual(lines(changeTable(plan))[2], "cpus|2|4|next start");
  assert.equal(changeTable([]), "Nothing would change");
});

const STATS: VmStatsView = {
  name: "web",
  state: "running",
  cpus: 2,
  memoryMib: 1024,
  atMs: 1000,
  cpuTimeMs: 500,
  memoryUsedBytes: 100 * 1024 ** 2,
  diskUsedBytes: 1024,
  guest: {
    memory: { totalBytes: 1000 * 1024 ** 2, availableBytes: 900 * 1024 ** 2 },
    load: [0.5, 0, 0],
    processes: 20,
    filesystems: [{ path: "/", totalBytes: 1024 ** 3, availableBytes: 512 * 1024 ** 2 }],
  },
};

Deno.test("vm stats: load is what was used between two looks", () => {
  const later = { ...STATS, atMs: 2000, cpuTimeMs: 2000 };
  const [load] = withLoad([STATS], [later]);
  assert.equal(load!.cpuPercent, 150);
  const shown = lines(statsTable([load!]));
  assert.equal(shown[1], "web|running|150.0%|0.50|100 MiB / 1 GiB (100 MiB)|1 KiB|50% of 1 GiB|-|20");
  // A restart in between, a VM that was not there, one that stopped.
  assert.equal(withLoad([later], [{ ...STATS, atMs: 3000 }])[0]!.cpuPercent, undefined);
  assert.equal(withLoad([], [STATS])[0]!.cpuPercent, undefined);
  const { cpuTimeMs: _time, guest: _guest, memoryUsedBytes: _memory, ...stopped } = STATS;
  assert.equal(lines(statsTable(withLoad([STATS], [stopped])))[1], "web|running|-|-|- / 1 GiB|1 KiB|-|-|-");
});

Deno.test("vm health tells versions, what is wrong, and an exit code for each", () => {
  const healthy: VmHealthView = {
    name: "web",
    state: "running",
    isHealthy: true,
    vmm: { driver: "qemu", status: "running", pid: 7 },
    agent: {
      version: "0.1.0",
      commit: "abc",
      isOurs: false,
      bootId: "b",
      uptimeSeconds: 60,
      answeredWithinMs: 3,
    },
  };
  assert.match(
    healthText(healthy),
    /Agent: +0\.1\.0 \(abc\), another build than this banger's; answered within 3 ms/,
  );
  const { agent: _agent, ...silent } = healthy;
  const broken = { ...silent, isHealthy: false, problem: "no answer" };
  assert.match(healthText(broken), /it does not work: no answer/);
  const stopped: VmHealthView = { name: "db", state: "stopped", isHealthy: false, problem: "it is stopped" };
  assert.deepEqual([[healthy], [healthy, stopped], [broken, stopped], []].map(healthExitCode), [0, 4, 7, 0]);
});

Deno.test("operation list shows ids that can be typed, stages, and failures", () => {
  const base = { id: "0a1b2c3d-0000", kind: "vm create", startedAt: "2026-01-09T23:59:50Z" };
  const shown = lines(operationTable([
    { ...base, state: "running", stage: "booting" },
    { ...base, state: "done", stage: "booting", result: "web" },
    { ...base, state: "failed", error: { code: "no_space", message: "Cannot\u001b[2J" } },
  ], NOW_MS));
  assert.deepEqual(shown.slice(1), [
    "0a1b2c3d|vm create|running|10 s|booting",
    "0a1b2c3d|vm create|done|10 s|web",
    "0a1b2c3d|vm create|failed|10 s|Cannot\ufffd[2J",
  ]);
});

Deno.test("a console that is followed comes line by line, harmless however it is cut", () => {
  const lines = new LineCleaner();
  const push = (text: string) => lines.push(new TextEncoder().encode(text));
  assert.equal(push("one\r\ntw"), "one\n");
  assert.equal(push("o \u001b[3"), "");
  assert.equal(push("1mred\u001b[0m\n\u001b]0;title"), "two red\n");
  assert.equal(lines.push(new Uint8Array([0xc3])), "");
  assert.equal(lines.push(new Uint8Array([0xa9])), "");
  assert.equal(lines.end(), "\ufffd]0;titleé\n");
  assert.ok(push("x".repeat(100_000)).length > 0, "a line without an end is not kept for ever");
});
