import type { Terminal } from "../base/terminal.ts";

/** Results: the only thing that reaches stdout. */
export async function print(terminal: Terminal, text: string): Promise<void> {
  await terminal.writeStdout(new TextEncoder().encode(text.endsWith("\n") ? text : `${text}\n`));
}

export async function printJson(terminal: Terminal, value: unknown): Promise<void> {
  await print(terminal, JSON.stringify(value, undefined, 2));
}

/** Everything said beside the result. */
export async function say(terminal: Terminal, text: string): Promise<void> {
  await terminal.writeStderr(new TextEncoder().encode(`${text}\n`));
}

/** Columns as wide as their content, two spaces between; the last one is not padded. */
export function table(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const lines = [header, ...rows].map((row) => row.map(visible));
  const widths = header.map((_, column) => Math.max(...lines.map((row) => row[column]?.length ?? 0)));
  return lines
    .map((row) =>
      row.map((cell, column) => column === row.length - 1 ? cell : cell.padEnd(widths[column]!)).join("  ")
    )
    .join("\n");
}

/** `Name:    value` lines; undefined values are left out. */
export function fields(pairs: readonly (readonly [string, string | undefined])[]): string {
  const present = pairs.filter((pair): pair is readonly [string, string] => pair[1] !== undefined);
  const width = Math.max(...present.map(([name]) => name.length)) + 2;
  return present.map(([name, value]) => `${`${name}:`.padEnd(width)}${visible(value)}`).join("\n");
}

/** What came from outside may hold escape sequences: no control character and no bidirectional override passes. */
export function visible(text: string): string {
  // deno-lint-ignore no-control-regex
  return text.replaceAll(/[\u0000-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, "\ufffd");
}

/** As `visible`, for text of many lines: line breaks and tabs stay. */
export function visibleLines(text: string): string {
  // deno-lint-ignore no-control-regex -- a serial console ends lines with \r\n and colours its output
  const plain = text.replaceAll(/\u001b\[[0-9;?]*[ -/]*[@-~]/g, "").replaceAll(/\r+\n/g, "\n");
  return plain.split("\n").map((line) => line.split("\t").map(visible).join("\t")).join("\n");
}

/** How long ago, for listings: `3 min`. */
export function age(fromIso: string, nowMs: number): string {
  const seconds = Math.max(0, Math.round((nowMs - Date.parse(fromIso)) / 1000));
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} days`;
}
