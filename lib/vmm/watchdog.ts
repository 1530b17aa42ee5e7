import type { Clock } from "../base/host.ts";
import { eitherSignal } from "../base/signals.ts";
import { formatDuration } from "../base/units.ts";
import type { Machine } from "./driver.ts";

/** What banger's initramfs prints first. Exported for tests. */
export const BOOT_MARKER = "banger-init: start";

/** What it prints once every driver is loaded, before the image's own init. */
export const HANDOVER_MARKER = "banger-init: handing over";

/** The kernel's words for a processor that runs nothing but one task, said again about every 26 s. */
const STUCK = /soft lockup - CPU#\d+ stuck for (\d+)s!/g;
/** Once may be a host that was busy elsewhere. */
const STUCK_SECONDS = 40;

/** What a boot may cost. Wall time alone says nothing: on a crowded host a good boot takes minutes. */
export interface BootLimits {
  /**
   * CPU time to the marker. It counts the guest's own work, so a busy host does not look like a hung guest:
   * software emulation needs 1.3 to 3 s on hosts idle and crowded alike, and a kernel that spins gets there.
   */
  readonly markerCpuMs: number;
  /** CPU time from the marker to the agent's first answer; emulated, Debian with systemd needs about 12 s. */
  readonly agentCpuMs: number;
  /** The same where the guest's kernel says that a processor is stuck. */
  readonly stuckCpuMs: number;
  /** Wall time from the marker that the guest has in any case: its services may wait for each other. */
  readonly agentWallMs: number;
  /** A machine that gets less than `restCpuMs` of CPU time in so long waits for nothing that will come. */
  readonly restWallMs: number;
  /** Above what a guest at rest costs, and below what a starved one gets. */
  readonly restCpuMs: number;
}

/** Exported for tests. */
export const DEFAULT_BOOT_LIMITS: BootLimits = {
  markerCpuMs: 12_000,
  agentCpuMs: 120_000,
  stuckCpuMs: 30_000,
  agentWallMs: 180_000,
  restWallMs: 90_000,
  restCpuMs: 2700,
};

/** What is known about a boot at one moment. */
export interface BootObservation {
  readonly elapsedMs: number;
  /** undefined: the VMM is gone. */
  readonly cpuTimeMs: number | undefined;
  /** When the marker was first seen, on the scale of `elapsedMs`, and the CPU time until then. */
  readonly marker: { readonly seenMs: number; readonly cpuTimeMs: number } | undefined;
  /** CPU time in the last `restWallMs`; undefined before it runs for so long. */
  readonly recentCpuMs: number | undefined;
  /** What the guest's kernel says. */
  readonly isStuck: boolean;
}

export type BootVerdict =
  | { readonly kind: "progress" }
  /** Worth one more try. */
  | { readonly kind: "hung"; readonly reason: string }
  | { readonly kind: "dead"; readonly reason: string };

/** Judges a boot whose agent has not answered yet. Pure. Exported for tests. */
export function judgeBoot(observation: BootObservation, limits: BootLimits): BootVerdict {
  const { elapsedMs, cpuTimeMs, marker, recentCpuMs, isStuck } = observation;
  if (cpuTimeMs === undefined) {
    const where = marker ? "after its init started" : "before its init started";
    const when = formatDuration(elapsedMs);
    return { kind: "dead", reason: `the machine ended ${where}, ${when} after its start` };
  }
  const isAtRest = recentCpuMs !== undefined && recentCpuMs < limits.restCpuMs;
  if (marker && isStuck && cpuTimeMs - marker.cpuTimeMs > limits.stuckCpuMs) {
    const elapsed = formatDuration(elapsedMs - marker.seenMs);
    return { kind: "hung", reason: `a processor of it is stuck, ${elapsed} after its init started` };
  }
  return marker
    ? judgeGuest(elapsedMs - marker.seenMs, cpuTimeMs - marker.cpuTimeMs, isAtRest, limits)
    : judgeKernel(elapsedMs, cpuTimeMs, isAtRest, limits);
}

function judgeKernel(
  elapsedMs: number,
  cpuTimeMs: number,
  isAtRest: boolean,
  limits: BootLimits,
): BootVerdict {
  if (cpuTimeMs > limits.markerCpuMs) {
    const used = formatDuration(cpuTimeMs);
    return { kind: "hung", reason: `its kernel used ${used} of CPU time and did not start init` };
  }
  if (isAtRest) {
    const elapsed = formatDuration(elapsedMs);
    return { kind: "hung", reason: `its kernel sleeps and did not start init within ${elapsed}` };
  }
  return { kind: "progress" };
}

/** @param elapsedMs since the marker, as `cpuTimeMs` */
function judgeGuest(
  elapsedMs: number,
  cpuTimeMs: number,
  isAtRest: boolean,
  limits: BootLimits,
): BootVerdict {
  if (elapsedMs <= limits.agentWallMs) return { kind: "progress" };
  if (!isAtRest && cpuTimeMs <= limits.agentCpuMs) return { kind: "progress" };
  const [elapsed, used] = [formatDuration(elapsedMs), formatDuration(cpuTimeMs)];
  return {
    kind: "hung",
    reason: `no answer from its agent ${elapsed} after its init started, which got ${used} of CPU time`,
  };
}

export type BootOutcome =
  | { readonly kind: "up"; readonly elapsedMs: number; readonly markerSeenMs: number | undefined }
  | { readonly kind: "hung"; readonly reason: string }
  | { readonly kind: "dead"; readonly reason: string };

export interface BootWatch {
  readonly machine: Pick<Machine, "cpuTimeMs">;
  /**
   * The console's text so far. Asked until the marker was seen and the agent may be asked, and again once the boot
   * has cost as much as one that may be stuck.
   */
  readConsole(): Promise<string>;
  /** What stands on the console before the agent may be asked; default: the marker; "": it may be from the start. */
  readonly askFrom?: string;
  /**
   * One try, which may wait for its answer: the boot is watched meanwhile. A failure to reach the agent is `false`, not
   * an error. Ends soon after the signal fires.
   */
  isAgentUp(signal: AbortSignal): Promise<boolean>;
  readonly limits?: BootLimits;
  readonly signal?: AbortSignal;
}

const POLL_MS = 50;
/** While the agent has been asked, this only notices that the machine is gone, or stands still. */
const ASKED_POLL_MS = 250;
/** For the answer of an agent that is asked once a boot was given up. */
const LAST_WORD_MS = 2000;

/** CPU time at moments a second apart, for as long as anybody asks about. */
class CpuHistory {
  readonly #windowMs: number;
  readonly #samples: { readonly elapsedMs: number; readonly cpuTimeMs: number }[] = [];

  constructor(windowMs: number) {
    this.#windowMs = windowMs;
  }

  /** @returns what was used in the last window; undefined before there was a whole one */
  add(elapsedMs: number, cpuTimeMs: number): number | undefined {
    const last = this.#samples.at(-1);
    if (!last || elapsedMs - last.elapsedMs >= 1000) this.#samples.push({ elapsedMs, cpuTimeMs });
    const from = elapsedMs - this.#windowMs;
    while (this.#samples[1] && this.#samples[1].elapsedMs <= from) this.#samples.shift();
    const first = this.#samples[0]!;
    return first.elapsedMs <= from ? cpuTimeMs - first.cpuTimeMs : undefined;
  }
}

/** What the agent says; one try at a time is under way. */
class Asking implements Disposable {
  readonly #clock: Clock;
  readonly #watch: BootWatch;
  readonly #over = new AbortController();
  #answer: Promise<boolean> | undefined;

  constructor(clock: Clock, watch: BootWatch) {
    this.#clock = clock;
    this.#watch = watch;
  }

  /** Asks where nobody does. @returns whether the agent is up; undefined where there is no answer in that time */
  async answerWithin(waitMs: number): Promise<boolean | undefined> {
    if (!this.#answer) {
      this.#answer = this.#watch.isAgentUp(this.#over.signal);
      this.#answer.catch(() => {}); // whoever waits next is told
    }
    const enough = new AbortController();
    using ends = eitherSignal(enough.signal, this.#watch.signal);
    const pause = this.#clock.sleep(waitMs, ends.signal).then(() => undefined, () => undefined);
    try {
      const answer = await Promise.race([this.#answer, pause]);
      if (answer === false) this.#answer = undefined;
      return answer;
    } finally {
      enough.abort();
      await pause;
    }
  }

  [Symbol.dispose](): void {
    this.#over.abort();
  }
}

function saysStuck(console: string): boolean {
  return console.matchAll(STUCK).some(([, seconds]) => Number(seconds) >= STUCK_SECONDS);
}

/**
 * Watches a machine from its start until its agent answers, or until it is clear that it won't. The
 * machine itself is left as it is: killing and trying again are the caller's.
 *
 * @throws the signal's reason; what `readConsole` and `isAgentUp` throw
 */
export async function watchBoot(
  { clock }: { readonly clock: Clock },
  watch: BootWatch,
): Promise<BootOutcome> {
  const limits = watch.limits ?? DEFAULT_BOOT_LIMITS;
  const startMs = clock.monotonicMs();
  const history = new CpuHistory(limits.restWallMs);
  let marker: BootObservation["marker"];
  using asking = new Asking(clock, watch);
  let mayAsk = watch.askFrom === "";
  for (;;) {
    watch.signal?.throwIfAborted();
    const cpuTimeMs = await watch.machine.cpuTimeMs();
    const isCostly = marker !== undefined && (cpuTimeMs ?? 0) - marker.cpuTimeMs > limits.stuckCpuMs;
    const text: string = mayAsk && marker && !isCostly ? "" : await watch.readConsole();
    const elapsedMs = clock.monotonicMs() - startMs;
    if (text.includes(BOOT_MARKER)) marker ??= { seenMs: elapsedMs, cpuTimeMs: cpuTimeMs ?? 0 };
    mayAsk ||= marker !== undefined && text.includes(watch.askFrom ?? BOOT_MARKER);
    const up = () => ({
      kind: "up" as const,
      elapsedMs: clock.monotonicMs() - startMs,
      markerSeenMs: marker?.seenMs,
    });
    const recentCpuMs = cpuTimeMs === undefined ? undefined : history.add(elapsedMs, cpuTimeMs);
    const verdict = judgeBoot(
      { elapsedMs, cpuTimeMs, marker, recentCpuMs, isStuck: saysStuck(text) },
      limits,
    );
    if (verdict.kind === "dead") return verdict;
    if (verdict.kind === "hung") {
      // The console may be what failed, or the kernel is not ours and says nothing: the agent has the last word.
      return await asking.answerWithin(LAST_WORD_MS) ? up() : verdict;
    }
    const answer = mayAsk ? await asking.answerWithin(ASKED_POLL_MS) : false;
    if (answer) return up();
    if (answer === false) await clock.sleep(POLL_MS, watch.signal);
  }
}
