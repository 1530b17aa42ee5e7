import type { DatabaseSync } from "node:sqlite";
import { BangerError } from "../base/errors.ts";
import type { ImageId, VmId, VmName } from "../base/names.ts";
import { assertTransition, type VmState } from "../base/states.ts";
import { type Vm, type VmRecord, vmRecordSchema, vmStateSchema } from "./records.ts";

/** 127.42.0.1 to 127.42.253.232 */
const MAX_NUMBER = 65_000;
const COLUMNS = "id, name, number, image_id, state, record, machine, broken_reason";

export class VmTable {
  readonly #database: DatabaseSync;

  constructor(database: DatabaseSync) {
    this.#database = database;
  }

  /** By name. */
  list(): Vm[] {
    return this.#database.prepare(`SELECT ${COLUMNS} FROM vms ORDER BY name`).all().map(parseRow);
  }

  find(nameOrId: string): Vm | undefined {
    const row = this.#database.prepare(`SELECT ${COLUMNS} FROM vms WHERE name = ? OR id = ?`)
      .get(nameOrId, nameOrId);
    return row && parseRow(row);
  }

  /** @throws {BangerError} `not_found` */
  get(nameOrId: string): Vm {
    const vm = this.find(nameOrId);
    if (vm) return vm;
    throw new BangerError(
      "not_found",
      `Cannot find VM ${nameOrId}`,
      "See what is there: banger vm list --all",
    );
  }

  isTaken(name: VmName): boolean {
    return this.#database.prepare("SELECT 1 FROM vms WHERE name = ?").get(name) !== undefined;
  }

  /**
   * Reserves name and number in state `creating`.
   *
   * @throws {BangerError} `already_exists`
   */
  reserve(id: VmId, name: VmName, imageId: ImageId, record: VmRecord): Vm {
    if (this.isTaken(name)) {
      throw new BangerError(
        "already_exists",
        `Cannot create VM ${name}: the name is taken`,
        `Use another --name, or remove the old one: banger vm rm ${name}`,
      );
    }
    this.#database.prepare(
      "INSERT INTO vms (id, name, number, image_id, state, record) VALUES (?, ?, ?, ?, 'creating', ?)",
    ).run(id, name, this.#freeNumber(), imageId, JSON.stringify(record));
    return this.get(id);
  }

  /**
   * Commits a change of state, with what else changes at that moment.
   *
   * @param verb what is being done, for the refusal's text
   * @throws {BangerError} `wrong_state` where the table of states does not allow it
   */
  transition(
    verb: string,
    id: VmId,
    to: VmState,
    change: { record?: Partial<VmRecord>; machine?: unknown; brokenReason?: string } = {},
  ): Vm {
    const vm = this.get(id);
    assertTransition(verb, vm.name, vm.state, to);
    const record = { ...recordOf(vm), ...change.record };
    const machine = "machine" in change ? change.machine : vm.machine;
    this.#database.prepare(
      "UPDATE vms SET state = ?, record = ?, machine = ?, broken_reason = ? WHERE id = ?",
    ).run(
      to,
      JSON.stringify(record),
      machine === undefined ? null : JSON.stringify(machine),
      change.brokenReason ?? null,
      id,
    );
    return this.get(id);
  }

  /** Changes what does not touch the state. */
  update(id: VmId, change: { record?: Partial<VmRecord>; machine?: unknown }): Vm {
    const vm = this.get(id);
    const machine = "machine" in change ? change.machine : vm.machine;
    this.#database.prepare("UPDATE vms SET record = ?, machine = ? WHERE id = ?").run(
      JSON.stringify({ ...recordOf(vm), ...change.record }),
      machine === undefined ? null : JSON.stringify(machine),
      id,
    );
    return this.get(id);
  }

  remove(id: VmId): void {
    this.#database.prepare("DELETE FROM vms WHERE id = ?").run(id);
  }

  #freeNumber(): number {
    const row = this.#database.prepare(
      `SELECT candidate FROM (SELECT 1 AS candidate UNION SELECT number + 1 FROM vms)
       WHERE candidate NOT IN (SELECT number FROM vms) ORDER BY candidate LIMIT 1`,
    ).get();
    const number = Number(row?.candidate);
    if (number <= MAX_NUMBER) return number;
    throw new BangerError(
      "no_space",
      "Cannot create a VM: all 65,000 addresses are in use",
      "Remove some VMs",
    );
  }
}

function recordOf(vm: Vm): VmRecord {
  const { id: _id, name: _name, number: _number, imageId: _image, state: _state, ...rest } = vm;
  const { machine: _machine, brokenReason: _reason, ...record } = rest;
  return record;
}

function parseRow(row: Record<string, unknown>): Vm {
  const machine = typeof row.machine === "string" ? JSON.parse(row.machine) as unknown : undefined;
  return {
    ...vmRecordSchema.parse(JSON.parse(String(row.record))),
    id: String(row.id) as VmId,
    name: String(row.name) as VmName,
    number: Number(row.number),
    imageId: String(row.image_id) as ImageId,
    state: vmStateSchema.parse(row.state),
    ...(machine === undefined ? {} : { machine }),
    ...(typeof row.broken_reason === "string" ? { brokenReason: row.broken_reason } : {}),
  } as Vm;
}
