import { z } from "zod";
import { BangerError, reasonOf } from "../base/errors.ts";
import type { Files } from "../base/host.ts";
import { type ImageId, parseVmName, type VmId } from "../base/names.ts";
import { trashedName, type Vm, vmRecordSchema, vmStateSchema } from "../store/records.ts";
import { recordOf } from "../store/vm_table.ts";

const MAX_RECORD_BYTES = 1024 * 1024;
const SCHEMA_VERSION = 1;

const fileSchema = z.object({
  schemaVersion: z.literal(SCHEMA_VERSION),
  id: z.string(),
  name: z.string(),
  number: z.number().int(),
  imageId: z.string(),
  state: vmStateSchema,
  brokenReason: z.string().optional(),
  machine: z.unknown().optional(),
  record: vmRecordSchema,
});

/** A VM's row as text, for the file beside its disks. */
export function formatVmRecord(vm: Vm): string {
  const { id, name, number, imageId, state, brokenReason, machine } = vm;
  const file = {
    schemaVersion: SCHEMA_VERSION,
    id,
    name,
    number,
    imageId,
    state,
    brokenReason,
    machine,
    record: recordOf(vm),
  };
  return `${JSON.stringify(file, undefined, 2)}\n`;
}

/**
 * The record beside the disks of a VM.
 *
 * @param id of the VM whose directory it lies in
 * @throws {BangerError} `state_broken` where it is missing, damaged or another VM's; what reading it throws
 */
export async function readVmRecord(files: Files, path: string, id: VmId): Promise<Vm> {
  if (await files.stat(path) === undefined) throw unreadable(path, "it is missing");
  const text = await files.readText(path, MAX_RECORD_BYTES);
  try {
    const file = fileSchema.parse(JSON.parse(text));
    if (file.id !== id) throw new Error("it is another VM's");
    return {
      ...file.record,
      id,
      name: file.record.removed ? trashedName(file.record.removed.name, id) : parseVmName(file.name),
      number: file.number,
      imageId: file.imageId as ImageId,
      state: file.state,
      ...(file.machine === undefined ? {} : { machine: file.machine }),
      ...(file.brokenReason === undefined ? {} : { brokenReason: file.brokenReason }),
    } as Vm;
  } catch (thrown) {
    throw unreadable(path, reasonOf(thrown).split("\n")[0]!, thrown);
  }
}

function unreadable(path: string, why: string, cause?: unknown): BangerError {
  return new BangerError("state_broken", `Cannot read ${path}: ${why}`, undefined, { cause });
}
