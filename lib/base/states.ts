import { BangerError } from "./errors.ts";

/**
 * A VM's states. `removed` is in the trash: its disks are all there and it can come back. `creating` and `removing` are written before their first effect outside the
 * database, so a daemon that died half-way finds on start what to undo and what to finish.
 */
export type VmState =
  | "creating"
  | "stopped"
  | "starting"
  | "running"
  | "stopping"
  | "suspended"
  | "broken"
  | "removed"
  | "removing";

/** What may follow what. The texts of refusals read the same table. */
export const TRANSITIONS = {
  creating: ["stopped", "removing"],
  stopped: ["starting", "removed", "removing", "broken"],
  starting: ["running", "stopped", "broken"],
  running: ["stopping", "stopped", "suspended", "broken"],
  stopping: ["stopped", "running", "broken"],
  suspended: ["starting", "removed", "removing", "broken"],
  broken: ["stopped", "running", "removed", "removing"],
  removed: ["stopped", "removing"],
  removing: [],
} as const satisfies Record<VmState, readonly VmState[]>;

export function mayBecome(from: VmState, to: VmState): boolean {
  return (TRANSITIONS[from] as readonly VmState[]).includes(to);
}

const REMEDIES: Partial<Record<VmState, (name: string) => string>> = {
  creating: (name) => `Wait until it is made: banger vm show ${name}`,
  stopped: (name) => `Start it first: banger vm start ${name}`,
  starting: (name) => `Wait until it runs: banger vm show ${name}`,
  running: (name) => `Stop it first: banger vm stop ${name}`,
  stopping: (name) => `Wait until it has stopped: banger vm show ${name}`,
  suspended: (name) => `Start it first: banger vm start ${name}`,
  removed: (name) => `Bring it back first: banger vm restore ${name}`,
  broken: (name) => `See what is wrong: banger vm show ${name}`,
};

/** @param verb what was wanted, as in "Cannot stop VM web: it is stopped" */
export function wrongState(verb: string, name: string, state: VmState): BangerError {
  return new BangerError("wrong_state", `Cannot ${verb} VM ${name}: it is ${state}`, REMEDIES[state]?.(name));
}

/** @throws {BangerError} `wrong_state` */
export function assertTransition(verb: string, name: string, from: VmState, to: VmState): void {
  if (!mayBecome(from, to)) throw wrongState(verb, name, from);
}
