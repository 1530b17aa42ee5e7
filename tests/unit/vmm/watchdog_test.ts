import assert from "node:assert/strict";
import type { Clock } from "../../../lib/base/host.ts";
import {
  BOOT_MARKER,
  type BootObservation,
  type BootWatch,
  DEFAULT_BOOT_LIMITS,
  HANDOVER_MARKER,
  judgeBoot,
  watchBoot,
} from "../../../lib/vmm/watchdog.ts";

const s = (seconds: number) => seconds * 1000;

const MARKER = { seenMs: s(2), cpuTimeMs: s(1.5) };
const boot = (elapsedS: number, cpuS: number | undefined, more: Partial<BootObservation> = {}) => ({
  elapsedMs: s(elapsedS),
  cpuTimeMs: cpuS === undefined ? undefined : s(cpuS),
  marker: undefined,
  recentCpuMs: undefined,
  isStuck: false,
  ...more,
});

const VERDICTS: readonly [string, BootObservation, string, RegExp?][] = [
  ["just started", boot(0, 0), "progress"],
  ["a crowded host: much wall time, little CPU time", boot(80, 3), "progress"],
  [
    "a host with a hundred guests: minutes, and 3 s in the last 90",
    boot(270, 9, { recentCpuMs: s(3) }),
    "progress",
  ],
  ["a kernel that spins", boot(13, 12.1), "hung", /12 s of CPU/],
  ["a kernel that sleeps", boot(91, 2.5, { recentCpuMs: s(2.5) }), "hung", /sleeps.* within 91 s/],
  ["the last moment before", boot(90, 12), "progress"],
  [
    "a guest that is busy after the marker",
    boot(100, 95, { marker: MARKER, recentCpuMs: s(88) }),
    "progress",
  ],
  ["a guest that rests and may wait", boot(170, 20, { marker: MARKER, recentCpuMs: s(1) }), "progress"],
  [
    "no agent, and the guest rests",
    boot(183, 20, { marker: MARKER, recentCpuMs: s(1) }),
    "hung",
    /no answer from its agent/,
  ],
  [
    "no agent yet, and the guest is starved",
    boot(400, 20, { marker: MARKER, recentCpuMs: s(4) }),
    "progress",
  ],
  [
    "no agent, and the guest spins",
    boot(200, 122, { marker: MARKER, recentCpuMs: s(90) }),
    "hung",
    /got 2 min/,
  ],
  [
    "a processor is stuck",
    boot(54, 95, { marker: MARKER, isStuck: true }),
    "hung",
    /processor of it is stuck, 52 s after its init/,
  ],
  [
    "a processor is stuck, as it may be on a crowded host",
    boot(80, 31, { marker: MARKER, isStuck: true }),
    "progress",
  ],
  ["gone before init", boot(1, undefined), "dead", /before its init/],
  ["gone after init", boot(500, undefined, { marker: MARKER }), "dead", /after its init/],
];

for (const [what, observation, kind, reason] of VERDICTS) {
  Deno.test(`judgeBoot() says "${kind}" of: ${what}`, () => {
    const verdict = judgeBoot(observation, DEFAULT_BOOT_LIMITS);
    assert.equal(verdict.kind, kind);
    if (verdict.kind !== "progress") assert.match(verdict.reason, reason!);
  });
}

/** A clock that only sleeping moves, once nothing else can go on without it. */
function manualClock(): Clock & { nowMs: number } {
  return {
    nowMs: 0,
    now() {
      return this.nowMs;
    },
    monotonicMs() {
      return this.nowMs;
    },
    async sleep(ms, signal) {
      for (let turn = 0; turn < 20; turn++) await Promise.resolve();
      signal?.throwIfAborted();
      this.nowMs += ms;
    },
  };
}

interface Script {
  readonly markerAtMs?: number;
  readonly handsOverAtMs?: number;
  readonly agentAtMs?: number;
  readonly diesAtMs?: number;
  /** From then on its kernel says every 26 s that a processor is stuck. */
  readonly stuckFromMs?: number;
  readonly cpuShare?: number;
  /** A try waits until the agent is up. */
  readonly isPatient?: boolean;
}

function play(script: Script, { signal, askFrom }: Pick<BootWatch, "signal" | "askFrom"> = {}) {
  const clock = manualClock();
  const asked = { console: 0, agent: 0, givenUp: 0 };
  const reached = (atMs: number | undefined) => atMs !== undefined && clock.nowMs >= atMs;
  const outcome = watchBoot({ clock }, {
    machine: {
      cpuTimeMs: () =>
        Promise.resolve(reached(script.diesAtMs) ? undefined : clock.nowMs * (script.cpuShare ?? 0.5)),
    },
    readConsole: () => {
      asked.console++;
      const lines = ["[ 0.1] PCI: Fatal"];
      if (reached(script.markerAtMs)) lines.push(BOOT_MARKER);
      for (let atMs = (script.stuckFromMs ?? Infinity) + 26_000; reached(atMs); atMs += 26_000) {
        const seconds = (atMs - script.stuckFromMs!) / 1000;
        lines.push(`[  ${seconds}.1] watchdog: BUG: soft lockup - CPU#0 stuck for ${seconds}s! [systemd:1]`);
      }
      if (reached(script.handsOverAtMs)) lines.push(`${HANDOVER_MARKER} to /sbin/init (systemd)`);
      return Promise.resolve(lines.join("\r\n"));
    },
    isAgentUp: async (signal) => {
      asked.agent++;
      while (script.isPatient && !reached(script.agentAtMs) && !signal.aborted) await Promise.resolve();
      if (signal.aborted) asked.givenUp++;
      return reached(script.agentAtMs);
    },
    ...(signal ? { signal } : {}),
    ...(askFrom === undefined ? {} : { askFrom }),
  });
  return { clock, asked, outcome };
}

Deno.test("watchBoot() asks the agent only once the marker was seen, and the console only until then", async () => {
  const { asked, outcome } = play({ markerAtMs: 2000, agentAtMs: 9000 });
  assert.deepEqual(await outcome, { kind: "up", elapsedMs: 9000, markerSeenMs: 2000 });
  assert.equal(asked.console, 41);
  assert.equal(asked.agent, 141);
});

Deno.test("watchBoot() gives a boot up whose kernel says twice that a processor is stuck", async () => {
  const { clock, outcome } = play({ markerAtMs: 2000, stuckFromMs: 3000, cpuShare: 2 }, { askFrom: "" });
  const { kind, ...more } = await outcome;
  assert.equal(kind, "hung");
  assert.match("reason" in more ? more.reason : "", /stuck, 53 s after/);
  assert.ok(clock.nowMs >= 55_000 && clock.nowMs < 58_000, `${clock.nowMs}`);
});

Deno.test("watchBoot() asks no agent before the console says what it waits for", async () => {
  const script = { markerAtMs: 2000, handsOverAtMs: 6000, agentAtMs: 9000 };
  const { asked, outcome } = play(script, { askFrom: HANDOVER_MARKER });
  assert.deepEqual(await outcome, { kind: "up", elapsedMs: 9000, markerSeenMs: 2000 });
  assert.equal(asked.console, 121);
  assert.equal(asked.agent, 61);
});

Deno.test("watchBoot() asks at once where it may, and reads the console until the marker", async () => {
  const script = { markerAtMs: 2000, agentAtMs: 9000, isPatient: true };
  const { asked, outcome } = play(script, { askFrom: "" });
  assert.deepEqual(await outcome, { kind: "up", elapsedMs: 9000, markerSeenMs: 2000 });
  assert.deepEqual([asked.agent, asked.console], [1, 9]);
});

Deno.test("watchBoot() asks an agent that takes its time once", async () => {
  const { asked, outcome } = play({ markerAtMs: 2000, agentAtMs: 60_000, isPatient: true });
  assert.deepEqual(await outcome, { kind: "up", elapsedMs: 60_000, markerSeenMs: 2000 });
  assert.equal(asked.agent, 1);
});

Deno.test("watchBoot() notices the end of a machine whose agent it waits for, and asks no more", async () => {
  const { clock, asked, outcome } = play({ markerAtMs: 2000, diesAtMs: 7000, isPatient: true });
  assert.equal((await outcome).kind, "dead");
  assert.equal(clock.nowMs, 7000);
  for (let turn = 0; turn < 20; turn++) await Promise.resolve();
  assert.deepEqual([asked.agent, asked.givenUp], [1, 1]);
});

Deno.test("watchBoot() finds a guest that hangs while its agent is asked", async () => {
  const { outcome } = play({ markerAtMs: 2000, cpuShare: 1, isPatient: true });
  assert.equal((await outcome).kind, "hung");
});

Deno.test("watchBoot() finds a spinning kernel by its CPU time", async () => {
  const { clock, outcome } = play({ cpuShare: 1 });
  assert.equal((await outcome).kind, "hung");
  assert.ok(clock.nowMs > 12_000 && clock.nowMs < 12_200, `after ${clock.nowMs} ms`);
});

Deno.test("watchBoot() finds a sleeping kernel by the CPU time that it does not use", async () => {
  const { clock, outcome } = play({ cpuShare: 0.02 });
  assert.equal((await outcome).kind, "hung");
  assert.ok(clock.nowMs >= 90_000 && clock.nowMs < 91_100, `after ${clock.nowMs} ms`);
});

Deno.test("watchBoot() waits for a starved guest for as long as it gets on", async () => {
  const { outcome } = play({ markerAtMs: 200_000, agentAtMs: 1_500_000, cpuShare: 0.05 });
  assert.deepEqual(await outcome, { kind: "up", elapsedMs: 1_500_000, markerSeenMs: 200_000 });
});

Deno.test("watchBoot() notices at once that the machine ended", async () => {
  const { clock, outcome } = play({ markerAtMs: 1000, diesAtMs: 3000 });
  assert.equal((await outcome).kind, "dead");
  assert.equal(clock.nowMs, 3000);
});

Deno.test("watchBoot() believes an agent that answers although the console stayed silent", async () => {
  const { outcome } = play({ agentAtMs: 5000, cpuShare: 0.1 });
  assert.deepEqual((await outcome).kind, "up");
});

Deno.test("watchBoot() stops with the signal's reason", async () => {
  const reason = new Error("enough");
  const { outcome } = play({}, { signal: AbortSignal.abort(reason) });
  await assert.rejects(outcome, reason);
});
