/** How much a finding matters: `note` is worth knowing, `warning` limits something, `error` stops something. */
export type Severity = "ok" | "note" | "warning" | "error";

/** What `banger doctor` says about one thing of the host or of banger's own state. */
export interface Finding {
  /** What was looked at: `acceleration`, `disk space`. */
  readonly check: string;
  readonly severity: Severity;
  /** What is so, in one line. */
  readonly found: string;
  /** What follows from it. */
  readonly meaning?: string;
  /** The exact thing to do. */
  readonly remedy?: string;
  /** What `--fix` does about it; absent where only the user can. */
  readonly fix?: string;
}

const ORDER: readonly Severity[] = ["ok", "note", "warning", "error"];

/** @returns the worst of them; `ok` for none */
export function worstSeverity(findings: readonly Pick<Finding, "severity">[]): Severity {
  return ORDER[Math.max(0, ...findings.map(({ severity }) => ORDER.indexOf(severity)))]!;
}
