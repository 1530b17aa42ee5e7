import { BangerError, reasonOf } from "../base/errors.ts";
import type { VmId } from "../base/names.ts";
import { formatBytes } from "../base/units.ts";
import { vmPaths } from "../store/paths.ts";
import type { Machine, MachineStatus } from "../vmm/driver.ts";
import type { VmDeps } from "./deps.ts";

/** A machine whose writes the host's disk does not take stands still until it does. */
export interface Stall {
  readonly reason: string;
  readonly sinceMs: number;
}

/** How often a machine is asked while there is room: a quota or a failing disk shows only there. */
const ASK_INTERVAL_MS = 5000;
const SETTINGS_INTERVAL_MS = 5000;
/** What stalls again at once is not tried more often than this. */
const RETRY_INTERVAL_MS = 10_000;

interface Watched {
  readonly machine: Machine;
  askedAtMs: number;
  resumedAtMs: number;
  stall: Stall | undefined;
}

/**
 * Notices machines that stand still for want of disk space, and lets them go on.
 *
 * QEMU pauses a machine at the write that fails. Firecracker would hand the failure to the guest, so its machines
 * are paused before: as soon as half of the reserve is used up.
 */
export class Stalls {
  readonly #deps: Pick<VmDeps, "host" | "paths" | "events" | "settings">;
  readonly #watched = new Map<VmId, Watched>();
  #reserve = { bytes: 0, readAtMs: -Infinity };

  constructor(deps: Pick<VmDeps, "host" | "paths" | "events" | "settings">) {
    this.#deps = deps;
  }

  get(id: VmId): Stall | undefined {
    return this.#watched.get(id)?.stall;
  }

  forget(id: VmId): void {
    this.#watched.delete(id);
  }

  /** Looks at one machine that lives, and acts. */
  async look(id: VmId, machine: Machine): Promise<void> {
    const { host, paths } = this.#deps;
    const nowMs = host.clock.monotonicMs();
    let watched = this.#watched.get(id);
    if (watched?.machine !== machine) {
      watched = { machine, askedAtMs: -Infinity, resumedAtMs: -Infinity, stall: undefined };
      this.#watched.set(id, watched);
    }
    const reserveBytes = await this.#reserveBytes(nowMs);
    const freeBytes = await host.files.freeBytes(vmPaths(paths, id).directory);
    if (watched.stall) {
      if (freeBytes < reserveBytes || nowMs - watched.resumedAtMs < RETRY_INTERVAL_MS) return;
      await machine.resume();
      watched.stall = undefined;
      watched.resumedAtMs = nowMs;
      await this.#tell(id, "resumed", `${formatBytes(freeBytes)} are free on the host's disk`);
    } else if (machine.record.driver === "firecracker") {
      await this.#lookAtFirecracker(id, watched, freeBytes < reserveBytes / 2, nowMs);
    } else if (freeBytes < reserveBytes || nowMs - watched.askedAtMs >= ASK_INTERVAL_MS) {
      watched.askedAtMs = nowMs;
      const reason = reasonOfStatus(await machine.status());
      if (reason !== undefined) await this.#stalled(id, watched, reason);
    }
  }

  async #lookAtFirecracker(id: VmId, watched: Watched, isTight: boolean, nowMs: number): Promise<void> {
    const { machine } = watched;
    if (isTight) {
      await machine.pause();
      return await this.#stalled(id, watched, "the host's disk is almost full");
    }
    if (nowMs - watched.askedAtMs < ASK_INTERVAL_MS) return;
    watched.askedAtMs = nowMs;
    // By the daemon before this one, which nobody but us pauses for.
    if (await machine.status() === "paused") {
      await this.#stalled(id, watched, "the host's disk was almost full");
    }
  }

  /** For what needs a guest that moves. @throws {BangerError} `no_space` where it stands still */
  async requireMoving(id: VmId, name: string, machine: Machine): Promise<void> {
    const reason = this.get(id)?.reason ?? reasonOfStatus(await statusOf(machine));
    if (reason !== undefined) throw standsStill(name, reason);
  }

  async #stalled(id: VmId, watched: Watched, reason: string): Promise<void> {
    watched.stall = { reason, sinceMs: this.#deps.host.clock.now() };
    await this.#tell(id, "paused", reason);
  }

  /** The list of events lies on the same disk: where it is full, the log has to do. */
  async #tell(id: VmId, event: string, detail: string): Promise<void> {
    const { host, paths, events } = this.#deps;
    host.log("warn", `machine ${event}`, { vm: id, detail });
    try {
      await events.add(vmPaths(paths, id).events, event, detail);
    } catch (thrown) {
      if (!(thrown instanceof BangerError && thrown.code === "no_space")) throw thrown;
      host.log("warn", "cannot write down an event", { vm: id, reason: thrown.message });
    }
  }

  async #reserveBytes(nowMs: number): Promise<number> {
    if (nowMs - this.#reserve.readAtMs < SETTINGS_INTERVAL_MS) return this.#reserve.bytes;
    try {
      this.#reserve = { bytes: (await this.#deps.settings()).reserveBytes, readAtMs: nowMs };
    } catch (thrown) {
      // A configuration that was broken meanwhile stops no machine; the last good value holds.
      this.#deps.host.log("warn", "cannot read the configuration", { reason: reasonOf(thrown) });
      this.#reserve = { ...this.#reserve, readAtMs: nowMs };
    }
    return this.#reserve.bytes;
  }
}

function reasonOfStatus(status: MachineStatus): string | undefined {
  if (status === "out-of-space") return "the host's disk is full";
  if (status === "io-error") {
    return "the host's disk refuses a write (a quota, or a fault: see its kernel's log)";
  }
  return undefined;
}

/** A VMM that does not answer is another trouble than a full disk, and shown by whatever was wanted of it. */
async function statusOf(machine: Machine): Promise<MachineStatus> {
  try {
    return await machine.status();
  } catch (thrown) {
    if (thrown instanceof BangerError) return "failed";
    throw thrown;
  }
}

function standsStill(name: string, reason: string): BangerError {
  return new BangerError(
    "no_space",
    `Cannot shut down VM ${name}: it stands still, since ${reason}`,
    `Free some space on the host and it goes on; or cut its power: banger vm stop --force ${name}`,
  );
}
