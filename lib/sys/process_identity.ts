import type { ProcessIdentity } from "../base/host.ts";
import { readKernelText } from "./kernel_files.ts";
import { systemCode } from "./os_errors.ts";

/** Clock ticks a second in /proc/PID/stat: USER_HZ, 100 on every Linux that Deno runs on. */
const MS_PER_TICK = 10;

export interface ProcessStat {
  readonly state: string;
  readonly parentPid: number;
  readonly cpuTimeMs: number;
  readonly startTimeTicks: number;
}

/**
 * @param text content of /proc/PID/stat; the second field, in parentheses, may hold anything (proc(5))
 * Exported for tests.
 */
export function parseProcessStat(text: string): ProcessStat | undefined {
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  const [state, parentPid] = fields;
  const userTicks = Number(fields[11]);
  const systemTicks = Number(fields[12]);
  const startTimeTicks = Number(fields[19]);
  if (!state || Number.isNaN(startTimeTicks)) return undefined;
  return {
    state,
    parentPid: Number(parentPid),
    cpuTimeMs: (userTicks + systemTicks) * MS_PER_TICK,
    startTimeTicks,
  };
}

/** @returns undefined where the process is gone (a zombie is gone) */
function readProcessStat(pid: number): ProcessStat | undefined {
  try {
    const stat = parseProcessStat(readKernelText(`/proc/${pid}/stat`));
    return stat && stat.state !== "Z" && stat.state !== "X" ? stat : undefined;
  } catch (thrown) {
    const code = systemCode(thrown);
    if (code === "ENOENT" || code === "ESRCH") return undefined;
    throw thrown;
  }
}

function readBootId(): string {
  return readKernelText("/proc/sys/kernel/random/boot_id").trim();
}

export async function identifyProcess(pid: number): Promise<ProcessIdentity | undefined> {
  const stat = readProcessStat(pid);
  if (!stat) return undefined;
  try {
    const executable = (await Deno.readLink(`/proc/${pid}/exe`)).replace(/ \(deleted\)$/, "");
    return { pid, startTimeTicks: stat.startTimeTicks, bootId: readBootId(), executable };
  } catch (thrown) {
    const code = systemCode(thrown);
    if (code === "ENOENT" || code === "ESRCH") return undefined;
    throw thrown;
  }
}

/** Source: proc(5), /proc/PID/status, VmRSS. @returns undefined where it is gone */
export function residentBytes(identity: ProcessIdentity): number | undefined {
  if (!findProcess(identity)) return undefined;
  try {
    const kib = /^VmRSS:\s*(\d+) kB$/m.exec(readKernelText(`/proc/${identity.pid}/status`))?.[1];
    return kib === undefined ? undefined : Number(kib) * 1024;
  } catch (thrown) {
    const code = systemCode(thrown);
    if (code === "ENOENT" || code === "ESRCH") return undefined;
    throw thrown;
  }
}

/** @returns the process's stat where it is still the very one that `identity` names */
export function findProcess(identity: ProcessIdentity): ProcessStat | undefined {
  const stat = readProcessStat(identity.pid);
  if (!stat || stat.startTimeTicks !== identity.startTimeTicks) return undefined;
  return readBootId() === identity.bootId ? stat : undefined;
}
