import type { Log, LogLevel } from "../base/host.ts";
import { systemCode } from "./os_errors.ts";

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
    try {
      Deno.stderr.writeSync(encoder.encode(`${line}\n`));
    } catch (thrown) {
      // The log's disk is full: whoever logs must go on, and there is no other place to say so.
      if (systemCode(thrown) !== "ENOSPC" && systemCode(thrown) !== "EDQUOT") throw thrown;
    }
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
