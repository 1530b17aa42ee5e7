import { BangerError } from "../base/errors.ts";
import type { VmName } from "../base/names.ts";

export function removesRunning(name: VmName): BangerError {
  return new BangerError(
    "wrong_state",
    `Cannot remove VM ${name}: it is running`,
    `Stop it first: banger vm stop ${name}; or cut its power: banger vm rm --force ${name}`,
  );
}

export function nameTaken(name: VmName): BangerError {
  return new BangerError(
    "already_exists",
    `Cannot create VM ${name}: the name is taken`,
    `Use another --name, or remove the old one: banger vm rm ${name}`,
  );
}

export function isFullDisk(thrown: unknown): boolean {
  return thrown instanceof BangerError && thrown.code === "no_space";
}
