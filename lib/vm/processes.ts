import type { Processes, ProcessIdentity } from "../base/host.ts";

const POLITE_MS = 2000;

/** Ends a process of ours; fine if it is gone, or never was. */
export async function stopProcess(
  processes: Pick<Processes, "signal" | "waitForExit">,
  process: ProcessIdentity | undefined,
): Promise<void> {
  if (!process) return;
  if (!(await processes.signal(process, "SIGTERM"))) return;
  if (await processes.waitForExit(process, POLITE_MS)) return;
  await processes.signal(process, "SIGKILL");
  await processes.waitForExit(process, POLITE_MS);
}
