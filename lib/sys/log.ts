import type { Log, LogLevel } from "../base/host.ts";

const ORDER: readonly LogLevel[] = ["debug", "info", "warn", "error"];

/**
 * One JSON object a line on standard error, which the daemon's starter has pointed at its log file.
 *
 * @param minimum lines below it are dropped
 */
export function stderrLog(minimum: LogLevel = "info"): Log {
  const encoder = new TextEncoder();
  return (level, message, fields = {}) => {
    if (ORDER.indexOf(level) < ORDER.indexOf(minimum)) return;
    const line = JSON.stringify({ time: new Date().toISOString(), level, message, ...printable(fields) });
    Deno.stderr.writeSync(encoder.encode(`${line}\n`));
  };
}

/** For programs whose standard error belongs to the user. */
export const silentLog: Log = () => {};

function printable(fields: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(fields).map((
      [key, value],
    ) => [key, value instanceof Error ? (value.stack ?? value.message) : value]),
  );
}
