import { BangerError, reasonOf } from "../base/errors.ts";
import type { CommandLine, Host, ProcessIdentity } from "../base/host.ts";
import type { Machine, MachineSpec } from "./driver.ts";
import { endHelpers, lastLogLines } from "./helpers.ts";

/** From a process's start to its first answer; 0.1 s where the host is idle. */
const START_TIMEOUT_MS = 30_000;
const MAX_WAIT_MS = 50;

/** @throws {BangerError} `boot_failed` after `START_TIMEOUT_MS`; the signal's reason */
export async function waitFor(
  { clock }: Pick<Host, "clock">,
  signal: AbortSignal,
  problem: string,
  isReady: () => Promise<boolean>,
): Promise<void> {
  const deadlineMs = clock.monotonicMs() + START_TIMEOUT_MS;
  for (let waitMs = 5;; waitMs = Math.min(waitMs * 2, MAX_WAIT_MS)) {
    signal.throwIfAborted();
    if (await isReady()) return;
    if (clock.monotonicMs() > deadlineMs) {
      throw new BangerError(
        "boot_failed",
        `Cannot start the machine: ${problem} within ${START_TIMEOUT_MS} ms`,
      );
    }
    await clock.sleep(waitMs, signal);
  }
}

/**
 * Starts a process of a machine.
 *
 * @param what it is, for people
 * @param logOffset where in the log its own lines begin
 * @throws {BangerError} `boot_failed` in its own words, where it ended before it could be looked at
 */
export async function startProcess(
  host: Pick<Host, "processes" | "files">,
  what: string,
  command: CommandLine,
  spec: MachineSpec,
  logOffset: number,
): Promise<ProcessIdentity> {
  try {
    return await host.processes.startDetached(command, spec.logPath);
  } catch (thrown) {
    if (!(thrown instanceof BangerError) || thrown.code !== "host_unsupported") throw thrown;
    throw await endedAtOnce(host, what, spec, logOffset);
  }
}

/**
 * The failure of a process that did not live long, in its own words.
 *
 * @param logOffset where in the log its own lines begin
 */
export async function endedAtOnce(
  host: Pick<Host, "files">,
  what: string,
  spec: MachineSpec,
  logOffset: number,
): Promise<BangerError> {
  const lines = await lastLogLines(host, spec.logPath, logOffset);
  const why = lines === "" ? "it says nothing" : lines;
  return new BangerError(
    "boot_failed",
    `Cannot start machine ${spec.id}: ${what} ended at once: ${why}`,
    `See ${spec.logPath}`,
  );
}

/** Ends what a failed launch has started. Its own failures are logged: the launch's is the one to tell. */
export async function undoLaunch(
  host: Pick<Host, "processes" | "files" | "log">,
  started: readonly ProcessIdentity[],
  ownSockets: readonly string[],
): Promise<void> {
  try {
    for (const process of started) await host.processes.signal(process, "SIGKILL");
    await endHelpers(host, started);
    for (const path of ownSockets) await host.files.remove(path);
  } catch (thrown) {
    // The failure that led here is the one to tell; this one must not hide it.
    host.log("error", "cannot clean up after a failed launch", { reason: reasonOf(thrown) });
  }
}

/** As `VmmDriver.adopt`, for a machine that was made from a record. */
export async function adoptMachine(machine: Machine): Promise<Machine | undefined> {
  if (await machine.waitForExit(0)) return undefined;
  try {
    await machine.status();
    return machine;
  } catch (thrown) {
    if (await machine.waitForExit(0)) return undefined;
    const { machineId, process } = machine.record;
    throw new BangerError(
      "state_broken",
      `Cannot take over machine ${machineId}: its VMM (process ${process.pid}) does not answer`,
      "Kill the VM if it stays so: banger vm kill",
      { cause: thrown },
    );
  }
}
