import { type Architecture, ARCHITECTURES } from "../base/architecture.ts";
import { BangerError } from "../base/errors.ts";
import type { Host } from "../base/host.ts";
import { processorFlags, readCpuInfo } from "./cpu_info.ts";
import type { Acceleration } from "./driver.ts";

const KVM_PATH = "/dev/kvm";

export type KvmDevice = "usable" | "absent" | "forbidden";

const SLOW = "software emulation is slow, and no isolation boundary between guest and host";

/**
 * KVM where the processor flags say that it works, else software emulation.
 *
 * `/dev/kvm` alone says too little: a paravirtual KVM without `vmx` or `svm` opens and makes VMs, but no
 * ordinary kernel boots in them.
 */
export async function chooseAcceleration(host: {
  readonly files: Host["files"];
  readonly processes: Pick<Host["processes"], "architecture">;
}): Promise<Acceleration> {
  const { architecture } = host.processes;
  return decideAcceleration(await readCpuInfo(host), await probeKvmDevice(host), architecture);
}

/** @param cpuInfo content of /proc/cpuinfo. Exported for tests. */
export function decideAcceleration(
  cpuInfo: string,
  device: KvmDevice,
  architecture: Architecture,
): Acceleration {
  const flags = processorFlags(cpuInfo);
  const wanted: readonly string[] = ARCHITECTURES[architecture].virtualizationFlags;
  const extension = wanted.find((flag) => flags.has(flag));
  if (wanted.length > 0 && !extension) {
    const deviceNote = device === "absent" ? "" : `, whatever ${KVM_PATH} says`;
    return { kind: "tcg", why: `the processor has neither ${wanted.join(" nor ")}${deviceNote}: ${SLOW}` };
  }
  if (device === "absent") {
    return { kind: "tcg", why: `${KVM_PATH} is absent (is the kvm module loaded?): ${SLOW}` };
  }
  if (device === "forbidden") {
    return { kind: "tcg", why: `this user may not open ${KVM_PATH} (add them to group kvm): ${SLOW}` };
  }
  const has = extension ? `the processor has ${extension} and ` : "";
  return { kind: "kvm", why: `${has}${KVM_PATH} is usable` };
}

async function probeKvmDevice({ files }: Pick<Host, "files">): Promise<KvmDevice> {
  if (!(await files.stat(KVM_PATH))) return "absent";
  try {
    (await files.open(KVM_PATH, { read: true, write: true })).close();
    return "usable";
  } catch (thrown) {
    // Root without the device cgroup's permission gets EPERM, others EACCES; ENODEV has no code of its own.
    if (thrown instanceof BangerError && thrown.code === "permission_denied") return "forbidden";
    if (thrown instanceof BangerError && thrown.code !== "cancelled") return "absent";
    throw thrown;
  }
}
