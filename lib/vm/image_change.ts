import { BangerError } from "../base/errors.ts";
import type { Progress } from "../base/host.ts";
import type { VmId, VmName } from "../base/names.ts";
import { wrongState } from "../base/states.ts";
import { vmPaths } from "../store/paths.ts";
import type { ImageRecord, RootOfImage, Vm } from "../store/records.ts";
import { requireKernel } from "./kernel_use.ts";
import { networkMode } from "./network.ts";
import type { VmDeps } from "./deps.ts";
import type { VmQueues } from "./queue.ts";
import { ASKED_FOR, makeRootDisk, type RootDisk, rootDiskFileName } from "./root_disk.ts";
import { requireReserve } from "./space.ts";

/** The kernel is that of the VM from then on, where one is said. */
type ImageAndKernel = Omit<ImageRecord, "kernel"> & { readonly kernel: string | undefined };

interface Work {
  readonly progress: Progress;
  readonly signal: AbortSignal;
}

/**
 * Puts a VM on another image: its root disk begins anew, its work disk at /root stays as it is. The root disk before
 * is kept, with what it is of, and comes back with one command, as often as one likes.
 *
 * The new disk lies beside the old one under a name of its own, and one row decides which of them counts: there is
 * no moment at which a crash leaves neither. The name is written down first, so that the next daemon removes what a
 * killed one began.
 */
export class ImageChanges {
  readonly #deps: VmDeps;
  readonly #queues: VmQueues;

  constructor(deps: VmDeps, queues: VmQueues) {
    this.#deps = deps;
    this.#queues = queues;
  }

  /**
   * @param wanted image: a name, or what is pulled where it is missing. kernel: else the image's own, else the VM's
   * @throws {BangerError} `wrong_state` unless the VM is stopped
   */
  async change(
    nameOrId: string,
    wanted: { readonly image: string; readonly kernel?: string | undefined },
    work: Work,
  ): Promise<VmName> {
    const { store, ensureImage } = this.#deps;
    const { id, name, spec } = this.#stopped(nameOrId);
    const found = await ensureImage(wanted.image, work.progress, work.signal);
    const kernelName = wanted.kernel ?? found.kernel;
    await requireKernel(this.#deps, name, kernelName, work);
    await this.#queues.run(id, async () => {
      this.#stopped(id);
      work.progress.stage("making the root disk");
      await discardUnfinishedRoot(this.#deps, store.vms.get(id));
      const replaced = store.vms.get(id).previousRoot;
      await this.#putOn(store.vms.get(id), { ...found, kernel: kernelName }, work.signal);
      if (replaced) await this.#removeFile(id, replaced.rootDiskFile);
    });
    work.progress.note(
      `the root disk begins anew, /root is as it was; back to the one before: banger vm set ${name} --undo-image`,
    );
    noteKernel(work.progress, spec.kernelName, store.vms.get(id));
    return name;
  }

  /** Swaps the root disk for the one before; once more swaps back. */
  async undo(nameOrId: string, { progress }: Work): Promise<VmName> {
    const { store, paths, events } = this.#deps;
    const { id, name, spec: before } = this.#stopped(nameOrId);
    await this.#queues.run(id, async () => {
      const vm = this.#stopped(id);
      const { previousRoot } = vm;
      if (!previousRoot) {
        throw new BangerError(
          "wrong_state",
          `Cannot undo a change of image of VM ${name}: there was none`,
          `Change it: banger vm set ${name} --image IMAGE`,
        );
      }
      const { imageId, imageName, kernelName, ...root } = previousRoot;
      if (!store.images.find(imageId)) throw imageGone(name, imageName);
      const spec = { ...vm.spec, imageName, kernelName };
      store.vms.update(id, { imageId, record: { ...root, spec, previousRoot: rootOf(vm) } });
      await events.add(vmPaths(paths, id).events, "image", `back to ${imageName} from ${vm.spec.imageName}`);
    });
    progress.note(
      `VM ${name} is back on ${store.vms.get(id).spec.imageName} with the root disk it had there`,
    );
    noteKernel(progress, before.kernelName, store.vms.get(id));
    return name;
  }

  async #putOn(vm: Vm, image: ImageAndKernel, signal: AbortSignal): Promise<void> {
    const { store, host, paths, events, drivers, settings } = this.#deps;
    const { directory, events: eventsPath } = vmPaths(paths, vm.id);
    const { reserveBytes } = await settings();
    await requireReserve(host.files, `change the image of VM ${vm.name}`, directory, reserveBytes);
    const mode = vm.rootDiskReason === ASKED_FOR ? vm.rootDisk : undefined;
    const { driver } = await drivers.choose({
      ...(vm.spec.vmm ? { requested: vm.spec.vmm } : {}),
      network: networkMode(vm.spec),
      rootFormat: mode === "qcow2" ? "qcow2" : "raw",
    });
    const stem = `root-${crypto.randomUUID().slice(0, 8)}`;
    store.vms.update(vm.id, { record: { unfinishedRoot: stem } });
    try {
      const wishes = { mode, needsRaw: driver.name === "firecracker" };
      const root = await makeRootDisk(host, paths, image, vm.id, wishes, stem);
      await host.files.sync(`${directory}/${root.rootDiskFile}`);
      await host.files.sync(directory);
      signal.throwIfAborted();
      this.#commit(vm, image, root);
    } catch (thrown) {
      await discardUnfinishedRoot(this.#deps, store.vms.get(vm.id));
      throw thrown;
    }
    await events.add(eventsPath, "image", `from ${vm.spec.imageName} to ${image.name}`);
  }

  /** From here on the new disk is the VM's. */
  #commit(vm: Vm, image: ImageAndKernel, root: RootDisk): void {
    const { store } = this.#deps;
    const kernelName = (image.kernel ?? vm.spec.kernelName) as typeof vm.spec.kernelName;
    const spec = { ...vm.spec, imageName: image.name, kernelName };
    if (!store.images.find(image.id)) throw imageGone(vm.name, image.name);
    store.vms.update(vm.id, {
      imageId: image.id,
      record: { ...root, spec, previousRoot: rootOf(vm), unfinishedRoot: undefined },
    });
  }

  /** @throws {BangerError} `wrong_state` */
  #stopped(nameOrId: string): Vm {
    const vm = this.#deps.store.vms.get(nameOrId);
    if (vm.state !== "stopped") throw wrongState("change the image of", vm.name, vm.state);
    return vm;
  }

  async #removeFile(id: VmId, file: string): Promise<void> {
    const { host, paths } = this.#deps;
    await host.files.remove(`${vmPaths(paths, id).directory}/${file}`);
  }
}

/** Removes the root disk that a killed or failed change of image has begun. Idempotent. */
export async function discardUnfinishedRoot(
  { store, host, paths }: Pick<VmDeps, "store" | "host" | "paths">,
  { id, unfinishedRoot }: Vm,
): Promise<void> {
  if (unfinishedRoot === undefined) return;
  const { directory } = vmPaths(paths, id);
  for (const name of await host.files.list(directory)) {
    if (name.startsWith(`${unfinishedRoot}.`)) await host.files.remove(`${directory}/${name}`);
  }
  store.vms.update(id, { record: { unfinishedRoot: undefined } });
}

/** What brings a VM's root disk back. */
function rootOf(vm: Vm): RootOfImage | undefined {
  const { rootDisk, rootDiskReason = ASKED_FOR, spec, imageId } = vm;
  if (rootDisk === undefined) return undefined;
  return {
    imageId,
    imageName: spec.imageName,
    kernelName: spec.kernelName,
    rootDisk,
    rootDiskReason,
    rootDiskFile: rootDiskFileName(vm),
  };
}

/** One's kernel may come with one's image. */
function noteKernel(progress: Progress, before: string, { name, spec }: Vm): void {
  if (spec.kernelName !== before) progress.note(`VM ${name} boots kernel ${spec.kernelName} now`);
}

function imageGone(vmName: VmName, imageName: string): BangerError {
  return new BangerError(
    "not_found",
    `Cannot change the image of VM ${vmName}: image ${imageName} is gone`,
    "See what is there: banger image list",
  );
}
