import { reasonOf } from "../base/errors.ts";
import type { Host } from "../base/host.ts";
import type { VmId } from "../base/names.ts";
import { type Paths, vmPaths } from "../store/paths.ts";
import type { Store } from "../store/store.ts";
import { formatVmRecord } from "./record_file.ts";

/**
 * Keeps a copy of each VM's row beside its disks, so that a lost database can be made again. The database is what
 * counts: a copy that cannot be written is told and tried again, and no change of a VM fails for it.
 */
export class VmRecordKeeper {
  readonly #host: Pick<Host, "files" | "log">;
  readonly #paths: Paths;
  readonly #store: Store;
  readonly #changed = new Set<VmId>();
  /** What lies beside the disks, as far as this process knows. */
  readonly #written = new Map<VmId, string>();

  constructor(host: Pick<Host, "files" | "log">, paths: Paths, store: Store) {
    this.#host = host;
    this.#paths = paths;
    this.#store = store;
    store.vms.onChange((id) => this.#changed.add(id));
  }

  /** Has `flush` look at a VM though nothing of it changed: after a start, the copy may be an older one. */
  suspect(id: VmId): void {
    this.#changed.add(id);
  }

  /** Those that a `flush` could not write. */
  get pending(): readonly VmId[] {
    return [...this.#changed];
  }

  /** Writes the VM's copy where its row changed since. Call in the VM's queue, before anybody is told of the change. */
  async flush(id: VmId): Promise<void> {
    if (!this.#changed.delete(id)) return;
    const vm = this.#store.vms.find(id);
    if (!vm) {
      this.#written.delete(id);
      return;
    }
    // What the database cannot tell must not replace what the copy may still say; while it is made or removed, its
    // directory comes and goes.
    if (vm.isUnreadable || vm.state === "creating" || vm.state === "removing") return;
    const text = formatVmRecord(vm);
    if (this.#written.get(id) === text) return;
    const { directory, record } = vmPaths(this.#paths, id);
    const { files, log } = this.#host;
    try {
      if (!(await files.stat(directory))) return;
      // After a start the copy mostly is as it should be; reading it costs far less than writing it safely again.
      if (!this.#written.has(id) && await this.#liesThere(record, text)) {
        return void this.#written.set(id, text);
      }
      await files.writeAtomic(record, text, 0o600);
      this.#written.set(id, text);
    } catch (thrown) {
      this.#changed.add(id);
      log("error", "cannot write a VM's record beside its disks", { vm: vm.name, reason: reasonOf(thrown) });
    }
  }

  async #liesThere(path: string, text: string): Promise<boolean> {
    const stat = await this.#host.files.stat(path);
    const length = new TextEncoder().encode(text).length;
    if (stat?.kind !== "file" || stat.sizeBytes !== length) return false;
    return await this.#host.files.readText(path, length) === text;
  }
}
