import type { Host } from "../base/host.ts";

/** Some 1.5 KB for each processor. */
const MAX_CPU_INFO_BYTES = 16 * 1024 * 1024;

/** @returns content of /proc/cpuinfo */
export async function readCpuInfo({ files }: Pick<Host, "files">): Promise<string> {
  return await files.readText("/proc/cpuinfo", MAX_CPU_INFO_BYTES);
}

/** The flags of the first processor in /proc/cpuinfo: mixed hosts don't run one kernel's VMs. */
export function processorFlags(cpuInfo: string): ReadonlySet<string> {
  const line = /^flags\s*:(.*)$/m.exec(cpuInfo);
  return new Set(line?.[1]?.trim().split(/\s+/));
}

/**
 * The frequency of the host's time stamp counter, where the host's kernel knows it exactly.
 *
 * An emulated guest reads the host's counter. Left to find its frequency by itself, it compares it with an
 * emulated timer chip; where the host is busy that fails, and the guest waits for its first timer tick for
 * ever (`docs/vmm.md`, "The boot that hangs").
 *
 * @param cpuInfo content of /proc/cpuinfo
 * @returns kHz; undefined where "cpu MHz" may be anything but the counter's frequency
 * Source: Linux arch/x86/kernel/tsc.c, arch/x86/kernel/cpu/proc.c
 */
export function timestampCounterKhz(cpuInfo: string): number | undefined {
  const flags = processorFlags(cpuInfo);
  // A hypervisor told the kernel the frequency, and without aperfmperf "cpu MHz" is that figure.
  const isExact = ["hypervisor", "constant_tsc", "tsc_known_freq"].every((flag) => flags.has(flag)) &&
    !flags.has("aperfmperf");
  const text = isExact ? /^cpu MHz\s*:\s*(\d{2,6}\.\d{3})\s*$/m.exec(cpuInfo)?.[1] : undefined;
  return text === undefined ? undefined : Math.round(Number(text) * 1000);
}
