import type { Clock } from "../base/host.ts";
import { formatDuration } from "../base/units.ts";
import type { Machine } from "./driver.ts";

/** What banger's initramfs prints first. Exported for tests. */
export const BOOT_MARKER = "banger-init: start";

export interface BootLimits {
  /**
   * CPU time to the marker. It counts the guest's own work, so a busy host does not look like a hung guest:
   * software emulation needs 1.3 to 2.5 s on hosts idle and crowded alike, and a kernel that spins gets there.
   */
  readonly markerCpuMs: number;
  /** Wall time to the marker, for a kernel that sleeps for ever. */
  readonly markerWallMs: number;
  /** Wall time from the marker to the agent's first answer. */
  readonly agentWallMs: number;
}

/** Exported for tests. */
export const DEFAULT_BOOT_LIMITS: BootLimits = {
  markerCpuMs: 12_000,
  markerWallMs: 90_000,
  agentWallMs: 180_000,
};

/** What is known about a boot at one moment. */
export interface BootObservation {
  readonly elapsedMs: number;
  /** undefined: the VMM is gone. */
  readonly cpuTimeMs: number | undefined;
  /** When the marker was first seen, on the scale of `elapsedMs`. */
  readonly markerSeenMs: number | undefined;
}

export type BootVerdict =
  | { readonly kind: "progress" }
  /** Worth one more try. */
  | { readonly kind: "hung"; readonly reason: string }
  | { readonly kind: "dead"; readonly reason: string };

/** Judges a boot whose agent has not answered yet. Pure. Exported for tests. */
export function judgeBoot(observation: BootObservation, limits: BootLimits): BootVerdict {
  const { elapsedMs, cpuTimeMs, markerSeenMs } = observation;
  const where = markerSeenMs === undefined ? "before its init started" : "after its init started";
  if (cpuTimeMs === undefined) {
    return {
      kind: "dead",
      reason: `the machine ended ${where}, ${formatDuration(elapsedMs)} after its start`,
    };
  }
  if (markerSeenMs !== undefined) {
    if (elapsedMs - markerSeenMs <= limits.agentWallMs) return { kind: "progress" };
    return {
      kind: "hung",
      reason: `no answer from its agent ${formatDuration(elapsedMs - markerSeenMs)} ${where}`,
    };
  }
  if (cpuTimeMs > limits.markerCpuMs) {
    return {
      kind: "hung",
      reason: `its kernel used ${formatDuration(cpuTimeMs)} of CPU time and did not start init`,
    };
  }
  if (elapsedMs > limits.markerWallMs) {
    return { kind: "hung", reason: `its kernel did not start init within ${formatDuration(elapsedMs)}` };
  }
  return { kind: "progress" };
}

export type BootOutcome =
  | { readonly kind: "up"; readonly elapsedMs: number; readonly markerSeenMs: number | undefined }
  | { readonly kind: "hung"; readonly reason: string }
  | { readonly kind: "dead"; readonly reason: string };

export interface BootWatch {
  readonly machine: Pick<Machine, "cpuTimeMs">;
  /** The console's text so far. Not asked any more once the marker was in it. */
  readConsole(): Promise<string>;
  /** Must itself give up within a second or so; a failure to reach the agent is `false`, not an error. */
  isAgentUp(): Promise<boolean>;
  readonly limits?: BootLimits;
  readonly signal?: AbortSignal;
}

const POLL_MS = 50;

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
  let markerSeenMs: number | undefined;
  for (;;) {
    watch.signal?.throwIfAborted();
    if (markerSeenMs === undefined && (await watch.readConsole()).includes(BOOT_MARKER)) {
      markerSeenMs = clock.monotonicMs() - startMs;
    }
    if (markerSeenMs !== undefined && (await watch.isAgentUp())) {
      return { kind: "up", elapsedMs: clock.monotonicMs() - startMs, markerSeenMs };
    }
    const cpuTimeMs = await watch.machine.cpuTimeMs();
    const elapsedMs = clock.monotonicMs() - startMs;
    const verdict = judgeBoot({ elapsedMs, cpuTimeMs, markerSeenMs }, limits);
    if (verdict.kind === "dead") return verdict;
    if (verdict.kind === "hung") {
      // The console may be what failed, or the kernel is not ours and says nothing: the agent has the last word.
      if (await watch.isAgentUp()) return { kind: "up", elapsedMs, markerSeenMs };
      return verdict;
    }
    await clock.sleep(POLL_MS, watch.signal);
  }
}
