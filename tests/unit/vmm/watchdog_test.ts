import assert from "node:assert/strict";
import type { Clock } from "../../../lib/base/host.ts";
import {
  BOOT_MARKER,
  type BootObservation,
  DEFAULT_BOOT_LIMITS,
  judgeBoot,
  watchBoot,
} from "../../../lib/vmm/watchdog.ts";

const s = (seconds: number) => seconds * 1000;

const VERDICTS: readonly [string, BootObservation, string, RegExp?][] = [
  ["just started", { elapsedMs: 0, cpuTimeMs: 0, markerSeenMs: undefined }, "progress"],
  ["a crowded host: much wall time, little CPU time", {
    elapsedMs: s(80),
    cpuTimeMs: s(3),
    markerSeenMs: undefined,
  }, "progress"],
  [
    "a kernel that spins",
    { elapsedMs: s(13), cpuTimeMs: s(12.1), markerSeenMs: undefined },
    "hung",
    /12 s of CPU/,
  ],
  [
    "a kernel that sleeps",
    { elapsedMs: s(91), cpuTimeMs: s(2), markerSeenMs: undefined },
    "hung",
    /within 91 s/,
  ],
  ["the last moment before", { elapsedMs: s(90), cpuTimeMs: s(12), markerSeenMs: undefined }, "progress"],
  [
    "a guest that is busy after the marker",
    { elapsedMs: s(100), cpuTimeMs: s(95), markerSeenMs: s(2) },
    "progress",
  ],
  [
    "no agent",
    { elapsedMs: s(183), cpuTimeMs: s(20), markerSeenMs: s(2) },
    "hung",
    /no answer from its agent/,
  ],
  [
    "gone before init",
    { elapsedMs: s(1), cpuTimeMs: undefined, markerSeenMs: undefined },
    "dead",
    /before its init/,
  ],
  [
    "gone after init",
    { elapsedMs: s(500), cpuTimeMs: undefined, markerSeenMs: s(2) },
    "dead",
    /after its init/,
  ],
];

for (const [what, observation, kind, reason] of VERDICTS) {
  Deno.test(`judgeBoot() says "${kind}" of: ${what}`, () => {
    const verdict = judgeBoot(observation, DEFAULT_BOOT_LIMITS);
    assert.equal(verdict.kind, kind);
    if (verdict.kind !== "progress") assert.match(verdict.reason, reason!);
  });
}

/** A clock that only sleeping moves. */
function manualClock(): Clock & { nowMs: number } {
  return {
    nowMs: 0,
    now() {
      return this.nowMs;
    },
    monotonicMs() {
      return this.nowMs;
    },
    sleep(ms, signal) {
      signal?.throwIfAborted();
      this.nowMs += ms;
      return Promise.resolve();
    },
  };
}

interface Script {
  readonly markerAtMs?: number;
  readonly agentAtMs?: number;
  readonly diesAtMs?: number;
  readonly cpuShare?: number;
}

function play(script: Script, signal?: AbortSignal) {
  const clock = manualClock();
  const asked = { console: 0, agent: 0 };
  const reached = (atMs: number | undefined) => atMs !== undefined && clock.nowMs >= atMs;
  const outcome = watchBoot({ clock }, {
    machine: {
      cpuTimeMs: () =>
        Promise.resolve(reached(script.diesAtMs) ? undefined : clock.nowMs * (script.cpuShare ?? 0.5)),
    },
    readConsole: () => {
      asked.console++;
      return Promise.resolve(
        reached(script.markerAtMs) ? `x\r\n${BOOT_MARKER} 1.2\r\n` : "[ 0.1] PCI: Fatal",
      );
    },
    isAgentUp: () => {
      asked.agent++;
      return Promise.resolve(reached(script.agentAtMs));
    },
    ...(signal ? { signal } : {}),
  });
  return { clock, asked, outcome };
}

Deno.test("watchBoot() asks the agent only once the marker was seen, and the console only until then", async () => {
  const { asked, outcome } = play({ markerAtMs: 2000, agentAtMs: 9000 });
  assert.deepEqual(await outcome, { kind: "up", elapsedMs: 9000, markerSeenMs: 2000 });
  assert.equal(asked.console, 41);
  assert.equal(asked.agent, 141);
});

Deno.test("watchBoot() finds a spinning kernel by its CPU time", async () => {
  const { clock, outcome } = play({ cpuShare: 1 });
  assert.equal((await outcome).kind, "hung");
  assert.ok(clock.nowMs > 12_000 && clock.nowMs < 12_200, `after ${clock.nowMs} ms`);
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
  const { outcome } = play({}, AbortSignal.abort(reason));
  await assert.rejects(outcome, reason);
});
