import { type BuildStamp, takeBuildStamp } from "../base/build.ts";
import { BangerError, firstFailure, reasonOf } from "../base/errors.ts";
import type { Host, LogLevel } from "../base/host.ts";
import { raiseDescriptorLimit } from "./descriptor_limit.ts";
import { realHost } from "./host.ts";
import { stderrLog } from "./log.ts";

const LOG_LEVELS: readonly LogLevel[] = ["debug", "info", "warn", "error"];

/** What a program of the background is told of itself. */
export interface Program {
  readonly host: Host;
  readonly build: BuildStamp;
  readonly args: readonly string[];
  readonly executable: string;
  onSignal(signal: "SIGTERM" | "SIGINT" | "SIGHUP", handler: () => void): void;
}

/**
 * Runs a program that nobody watches: the daemon, or what it starts. It logs to standard error, and ends with the
 * exit code of what `main` throws.
 */
export async function runProgram(main: (program: Program) => Promise<void>): Promise<never> {
  const { build, args } = takeBuildStamp(Deno.args);
  const host = realHost({ log: stderrLog(logLevel()) });
  // All VMs' ports, sessions and operations hang on it: a failure that nobody waited for is only told.
  globalThis.addEventListener("unhandledrejection", (event) => {
    event.preventDefault();
    host.log("error", "a failure that nobody waited for", { failure: event.reason });
  });
  try {
    raiseDescriptorLimit();
    const onSignal: Program["onSignal"] = (signal, handler) => Deno.addSignalListener(signal, handler);
    await main({ host, build, args, executable: Deno.execPath(), onSignal });
    Deno.exit(0);
  } catch (thrown) {
    Deno.exit(printFailure(thrown));
  }
}

function logLevel(): LogLevel {
  const wanted = Deno.env.get("BANGER_LOG_LEVEL");
  return LOG_LEVELS.find((level) => level === wanted) ?? "info";
}

/** The starter reads the last line to tell the user why. */
function printFailure(thrown: unknown): number {
  const first = firstFailure(thrown);
  const error = first instanceof BangerError
    ? first
    : new BangerError("internal", `Cannot run the daemon: ${reasonOf(first)}`, undefined, { cause: first });
  stderrLog()("error", "the daemon ended", { thrown: first, error: error.toBody() });
  return error.exitCode;
}
