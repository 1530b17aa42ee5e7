import { z } from "zod";
import type { ProcessIdentity } from "../base/host.ts";
import type { Vm } from "../store/records.ts";
import type { MachineRecord } from "../vmm/driver.ts";
import { parseMachineRecord } from "../vmm/record.ts";

/** In a VM's row: something runs it, and nothing is known of that. It is left alone until the user says otherwise. */
export const UNKNOWN_MACHINE = "unknown";

/** What runs a VM: the driver's record of the machine, and the relay beside it. */
export interface MachineState {
  readonly record: MachineRecord;
  /** QEMU has one always, Firecracker where it has a network. */
  readonly relay?: ProcessIdentity | undefined;
  /** For people: why this VMM. */
  readonly why?: string | undefined;
}

const relaySchema = z.object({
  pid: z.number().int(),
  startTimeTicks: z.number().int(),
  bootId: z.string(),
  executable: z.string(),
});

const stateSchema = z.object({
  record: z.unknown(),
  relay: relaySchema.optional(),
  why: z.string().optional(),
});

/**
 * @returns undefined where nothing was started
 * @throws {BangerError} `state_broken`
 */
export function parseMachineState(vm: Vm): MachineState | undefined {
  if (vm.machine === undefined) return undefined;
  const { record, relay, why } = stateSchema.parse(vm.machine);
  return { record: parseMachineRecord(record), relay, why };
}
