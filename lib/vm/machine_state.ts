import { z } from "zod";
import type { ProcessIdentity } from "../base/host.ts";
import type { Vm } from "../store/records.ts";
import type { MachineRecord } from "../vmm/driver.ts";
import { parseMachineRecord } from "../vmm/record.ts";

/** What runs a VM: the driver's record of the machine, and the relay beside it. */
export interface MachineState {
  readonly record: MachineRecord;
  readonly relay: ProcessIdentity;
}

const relaySchema = z.object({
  pid: z.number().int(),
  startTimeTicks: z.number().int(),
  bootId: z.string(),
  executable: z.string(),
});

/**
 * @returns undefined where nothing was started
 * @throws {BangerError} `state_broken`
 */
export function parseMachineState(vm: Vm): MachineState | undefined {
  if (vm.machine === undefined) return undefined;
  const { record, relay } = z.object({ record: z.unknown(), relay: relaySchema }).parse(vm.machine);
  return { record: parseMachineRecord(record), relay };
}
