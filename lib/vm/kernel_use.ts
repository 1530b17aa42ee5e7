import { BangerError } from "../base/errors.ts";
import type { Progress } from "../base/host.ts";
import type { KernelName } from "../base/names.ts";
import type { Kernel } from "../kernel/manifest.ts";
import type { Vm } from "../store/records.ts";
import type { VmDeps } from "./deps.ts";

interface Work {
  readonly progress: Progress;
  readonly signal: AbortSignal;
}

/**
 * Whether a VM needs that kernel: it boots it, it still runs with it, or it can go back to it with its image before.
 *
 * @returns for people: its name, and why where it does not boot it; undefined where it does not need it
 */
export function kernelUse(vm: Vm, kernel: KernelName): string | undefined {
  const { spec, previousRoot, startedWith, state, removed } = vm;
  const name = removed ? `${removed.name} (in the trash)` : vm.name;
  const isOn = state !== "stopped" && state !== "removed";
  if (spec.kernelName === kernel) return name;
  if (isOn && startedWith?.kernelName === kernel) return `${name} (until its next start)`;
  return previousRoot?.kernelName === kernel ? `${name} (with --undo-image)` : undefined;
}

/**
 * Makes sure that a kernel which a VM is to get is here, and boots on its processor: an image for another is
 * refused when a VM is made, so that is the host's.
 *
 * @param name absent: nothing to do
 * @throws {BangerError} `host_unsupported`, and what `ensureKernel` throws
 */
export async function requireKernel(
  { host, ensureKernel }: Pick<VmDeps, "host" | "ensureKernel">,
  vmName: string,
  name: string | undefined,
  { progress, signal }: Work,
): Promise<void> {
  if (name === undefined) return;
  const { architecture } = await ensureKernel(name, progress, signal);
  const own = host.processes.architecture;
  if (architecture === own) return;
  throw new BangerError(
    "host_unsupported",
    `Cannot give VM ${vmName} the kernel ${name}: it is for ${architecture}, and the VM for ${own}`,
    "See which there are: banger kernel list",
  );
}

/** @throws {BangerError} `not_found` where it went by another way than `kernel rm`; what `ensureKernel` throws */
export async function kernelToBoot(
  { ensureKernel }: Pick<VmDeps, "ensureKernel">,
  { name, spec: { kernelName } }: Vm,
  { progress, signal }: Work,
): Promise<Kernel> {
  try {
    return await ensureKernel(kernelName, progress, signal);
  } catch (thrown) {
    if (!(thrown instanceof BangerError) || thrown.code !== "not_found") throw thrown;
    throw new BangerError(
      "not_found",
      `Cannot start VM ${name}: its kernel ${kernelName} is gone`,
      `Give it another: banger vm set ${name} --kernel NAME; or import that one again: banger kernel import`,
      { cause: thrown },
    );
  }
}
