import { reasonOf } from "../base/errors.ts";
import type { Finding } from "../base/finding.ts";
import type { Host } from "../base/host.ts";
import type { Paths } from "../store/paths.ts";

/**
 * What the checks look with. They change nothing but that they make banger's own directories; a repair does, and
 * only when it is asked for.
 */
export interface DoctorWorld {
  readonly host: Pick<Host, "files" | "processes" | "clock">;
  readonly paths: Paths;
  readonly uid: number;
  /** As its kernel calls the processor: `x86_64`. */
  readonly architecture: string;
  readonly buildId: string;
  readonly builtAt: string;
  readonly userName: string;
}

export interface Diagnosis extends Finding {
  /** Harmless, and what `fix` says. */
  readonly repair?: () => Promise<void>;
}

export type Check = (world: DoctorWorld) => Promise<readonly Diagnosis[]>;

/**
 * Makes all checks, side by side. One that fails is a finding of its own: a doctor that dies of the illness
 * helps nobody.
 */
export async function diagnose(
  world: DoctorWorld,
  checks: Readonly<Record<string, Check>>,
): Promise<Diagnosis[]> {
  const results = await Promise.all(
    Object.entries(checks).map(async ([name, check]): Promise<readonly Diagnosis[]> => {
      try {
        return await check(world);
      } catch (thrown) {
        return [{ check: name, severity: "warning", found: `cannot be checked: ${reasonOf(thrown)}` }];
      }
    }),
  );
  return results.flat();
}

/** Does every repair that is offered. @returns what could not be repaired, as findings */
export async function repairAll(diagnoses: readonly Diagnosis[]): Promise<Finding[]> {
  const failures: Finding[] = [];
  for (const { check, fix, repair } of diagnoses) {
    if (!repair) continue;
    try {
      await repair();
    } catch (thrown) {
      failures.push({
        check,
        severity: "warning",
        found: `cannot be repaired (${fix}): ${reasonOf(thrown)}`,
      });
    }
  }
  return failures;
}

/** @returns the finding without what only this process can do with it */
export function findingOf({ repair: _repair, ...finding }: Diagnosis): Finding {
  return finding;
}
