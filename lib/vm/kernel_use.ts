import { BangerError } from "../base/errors.ts";
import type { Progress } from "../base/host.ts";
import type { KernelName } from "../base/names.ts";
import type { Vm } from "../store/records.ts";
import type { VmDeps } from "./deps.ts";

/** Whether it boots with that kernel, runs with it, or can go back to it with its image before. */
export function usesKernel({ spec, previousRoot, startedWith, state }: Vm, name: KernelName): boolean {
  const isOn = state !== "stopped" && state !== "removed";
  return spec.kernelName === name || previousRoot?.kernelName === name ||
    (isOn && startedWith?.kernelName === name);
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
  { progress, signal }: { readonly progress: Progress; readonly signal: AbortSignal },
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
