import type { KernelView } from "../api/contract.ts";
import type { Services } from "../api/services.ts";
import { BangerError } from "../base/errors.ts";
import { parseKernelName } from "../base/names.ts";
import type { Kernel } from "../kernel/manifest.ts";
import { kernelUse } from "../vm/kernel_use.ts";
import type { ServiceParts } from "./services.ts";

/** The API's kernel service over the room that does the work. */
export function kernelServices({ operations, kernels, store }: ServiceParts): Services["kernels"] {
  const view = (kernel: Kernel): KernelView => ({
    name: kernel.name,
    distribution: kernel.distribution,
    architecture: kernel.architecture,
    version: kernel.version,
    sha256: kernel.sha256,
    source: kernel.source,
    createdAt: kernel.createdAt,
  });
  return {
    list: async () => (await kernels.list()).map(view),
    get: async (name) => view(await kernels.get(parseKernelName(name))),
    async available() {
      const pulled = new Set((await kernels.list()).map(({ name }) => name));
      return kernels.catalog.map(({ name, distribution, architecture, version, description }) => ({
        name,
        distribution,
        architecture,
        ...(version === undefined ? {} : { version }),
        description,
        isPulled: pulled.has(name),
      }));
    },
    pull(name, options) {
      const parsed = parseKernelName(name);
      return operations.begin(
        "kernel pull",
        async (progress, signal) => (await kernels.pull(parsed, progress, signal, options)).name,
      );
    },
    import({ name, origin }) {
      const parsed = parseKernelName(name);
      return operations.begin(
        "kernel import",
        async (progress, signal) => (await kernels.import(parsed, origin, progress, signal)).name,
      );
    },
    async remove(name) {
      const parsed = parseKernelName(name);
      const uses = store.vms.list().flatMap((vm) => kernelUse(vm, parsed) ?? []);
      if (uses.length > 0) {
        throw new BangerError(
          "in_use",
          `Cannot remove kernel ${parsed}: used by ${uses.join(", ")}`,
          "Give them another: banger vm set VM --kernel NAME; or remove them for good: banger vm rm --purge VM",
        );
      }
      await kernels.remove(parsed);
    },
  };
}
