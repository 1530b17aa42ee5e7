import { type Finding, type Severity, worstSeverity } from "../../base/finding.ts";
import { type Command, type Context, flag } from "../command.ts";
import { print, printJson, visible } from "../output.ts";

/** Scripts can tell "nothing to do" from "limited" from "does not work". */
const EXIT_CODES: Readonly<Record<Severity, number>> = { ok: 0, note: 0, warning: 1, error: 5 };
const LABELS: Readonly<Record<Severity, string>> = {
  ok: "ok",
  note: "note",
  warning: "WARN",
  error: "ERROR",
};
const LABEL_COLUMNS = 6;

const doctor: Command = {
  path: ["doctor"],
  summary: "say what is wrong with this host, and what to do about it",
  details:
    "Looks at the processor, the tools, the disks and banger's own state. Needs no daemon and disturbs none.\n" +
    "Exit code 0: nothing is in the way; 1: something is limited; 5: something does not work.",
  options: [
    { flags: "--json", summary: "as JSON" },
    { flags: "--fix", summary: "do what is harmless, after showing it" },
  ],
  async run(context, input) {
    let findings = await context.doctor({ fix: false });
    const isJson = flag(input, "json");
    if (flag(input, "fix") && findings.some(({ fix }) => fix !== undefined)) {
      if (!isJson) await showFixes(context, findings);
      findings = await context.doctor({ fix: true });
    }
    if (isJson) await printJson(context.terminal, findings);
    else await print(context.terminal, formatFindings(findings));
    return EXIT_CODES[worstSeverity(findings)];
  },
};

async function showFixes({ terminal }: Context, findings: readonly Finding[]): Promise<void> {
  const lines = findings.flatMap(({ check, fix }) => fix === undefined ? [] : [`fixing ${check}: ${fix}`]);
  await print(terminal, lines.map(visible).join("\n"));
}

/** One line each; what is not well has its meaning and its remedy below it. Exported for tests. */
export function formatFindings(findings: readonly Finding[]): string {
  const width = Math.max(...findings.map(({ check }) => check.length)) + 2;
  const indent = " ".repeat(LABEL_COLUMNS + width);
  const lines = findings.flatMap(({ check, severity, found, meaning, remedy }) => [
    `${LABELS[severity].padEnd(LABEL_COLUMNS)}${check.padEnd(width)}${visible(found)}`,
    ...(meaning === undefined ? [] : [`${indent}${visible(meaning)}`]),
    ...(remedy === undefined ? [] : [`${indent}→ ${visible(remedy)}`]),
  ]);
  return [...lines, "", verdict(findings)].join("\n");
}

function verdict(findings: readonly Finding[]): string {
  const count = (wanted: Severity) => findings.filter(({ severity }) => severity === wanted).length;
  const [errors, warnings] = [count("error"), count("warning")];
  if (errors + warnings === 0) return "Nothing is in the way.";
  const parts = [
    ...(errors > 0 ? [`${errors} ${errors === 1 ? "thing does" : "things do"} not work`] : []),
    ...(warnings > 0 ? [`${warnings} ${warnings === 1 ? "thing is" : "things are"} limited`] : []),
  ];
  return `${parts.join(", ")}.`;
}

export const DOCTOR_COMMANDS: readonly Command[] = [doctor];
