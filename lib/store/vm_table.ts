import type { DatabaseSync } from "node:sqlite";
import { BangerError } from "../base/errors.ts";
import type { ImageId, VmId, VmName } from "../base/names.ts";
import { assertTransition, type VmState } from "../base/states.ts";
import { runStatement } from "./database_error.ts";
import { UNKNOWN_RECORD, type Vm, type VmRecord, vmRecordSchema, vmStateSchema } from "./records.ts";

/** 127.42.0.1 to 127.42.253.232 */
const MAX_NUMBER = 65_000;
const COLUMNS = "id, name, number, image_id, state, record, machine, broken_reason";

export class VmTable {
  readonly #database: DatabaseSync;
  readonly #listeners = new Set<(id: VmId) => void>();

  constructor(database: DatabaseSync) {
    this.#database = database;
  }

  /** @param listener told of every VM whose row was changed, once the change is committed */
  onChange(listener: (id: VmId) => void): void {
    this.#listeners.add(listener);
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
    const isRemoved = this.#database.prepare("SELECT 1 FROM vms WHERE name GLOB ?")
      .get(`${nameOrId.replaceAll(/[^a-z0-9-]/g, "?")}~*`) !== undefined;
    throw new BangerError(
      "not_found",
      `Cannot find VM ${nameOrId}`,
      isRemoved
        ? `It was removed; bring it back: banger vm restore ${nameOrId}`
        : "See what is there: banger vm list --all",
    );
  }

  /** @returns ids of the VMs in that state */
  idsIn(state: VmState): VmId[] {
    return this.#database.prepare("SELECT id FROM vms WHERE state = ?").all(state).map(({ id }) =>
      id as VmId
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
    if (!this.#database.prepare("SELECT 1 FROM images WHERE id = ?").get(imageId)) {
      throw new BangerError("not_found", `Cannot create VM ${name}: its image was removed meanwhile`);
    }
    this.#write(
      id,
      "INSERT INTO vms (id, name, number, image_id, state, record) VALUES (?, ?, ?, ?, 'creating', ?)",
      [id, name, this.#freeNumber(), imageId, JSON.stringify(record)],
    );
    return this.get(id);
  }

  /**
   * Gives a VM that lies on the disk its row again. Where its number is another's by now, it gets a new one.
   *
   * @throws {BangerError} `already_exists` where its name is taken
   */
  takeIn(vm: Vm): Vm {
    if (this.isTaken(vm.name)) {
      throw new BangerError("already_exists", `Cannot take in VM ${vm.name}: the name is taken`);
    }
    const isFree = vm.number >= 1 && vm.number <= MAX_NUMBER &&
      this.#database.prepare("SELECT 1 FROM vms WHERE number = ?").get(vm.number) === undefined;
    this.#write(
      vm.id,
      `INSERT INTO vms (${COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
      [
        vm.id,
        vm.name,
        isFree ? vm.number : this.#freeNumber(),
        vm.imageId,
        vm.state,
        // What is unknown stays unreadable, and so broken, rather than becoming what merely stands in for it.
        vm.isUnreadable ? "{}" : JSON.stringify(recordOf(vm)),
        jsonOrNull(vm.machine),
        vm.brokenReason ?? null,
      ],
    );
    return this.get(vm.id);
  }

  /** Replaces a row whose record cannot be read by what was kept beside the disks. */
  mend(vm: Vm): Vm {
    this.#write(
      vm.id,
      "UPDATE vms SET image_id = ?, state = ?, record = ?, machine = ?, broken_reason = NULL WHERE id = ?",
      [vm.imageId, vm.state, JSON.stringify(recordOf(vm)), jsonOrNull(vm.machine), vm.id],
    );
    return this.get(vm.id);
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
    change: { record?: Partial<VmRecord>; machine?: unknown; brokenReason?: string; name?: VmName } = {},
  ): Vm {
    const vm = this.get(id);
    assertTransition(verb, vm.name, vm.state, to);
    this.#save(vm, change, to, change.brokenReason ?? null);
    return this.get(id);
  }

  /** Changes what does not touch the state. */
  update(id: VmId, change: { record?: Partial<VmRecord>; machine?: unknown; imageId?: ImageId }): Vm {
    const vm = this.get(id);
    this.#save(vm, change, vm.state, vm.brokenReason ?? null);
    return this.get(id);
  }

  remove(id: VmId): void {
    this.#write(id, "DELETE FROM vms WHERE id = ?", [id]);
  }

  #save(
    vm: Vm,
    change: { record?: Partial<VmRecord>; machine?: unknown; name?: VmName; imageId?: ImageId },
    state: VmState,
    brokenReason: string | null,
  ): void {
    const machine = jsonOrNull("machine" in change ? change.machine : vm.machine);
    if (vm.isUnreadable) {
      const sql = "UPDATE vms SET state = ?, name = ?, machine = ?, broken_reason = ? WHERE id = ?";
      return this.#write(vm.id, sql, [state, change.name ?? vm.name, machine, brokenReason, vm.id]);
    }
    const record = JSON.stringify({ ...recordOf(vm), ...change.record });
    const sql =
      "UPDATE vms SET state = ?, name = ?, image_id = ?, record = ?, machine = ?, broken_reason = ? WHERE id = ?";
    const imageId = change.imageId ?? vm.imageId;
    this.#write(vm.id, sql, [state, change.name ?? vm.name, imageId, record, machine, brokenReason, vm.id]);
  }

  #write(id: VmId, sql: string, values: readonly (string | number | null)[]): void {
    runStatement(this.#database, sql, values);
    for (const listener of this.#listeners) listener(id);
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

/** The part of a VM that its row keeps as JSON. */
export function recordOf(vm: Vm): VmRecord {
  const { id: _id, name: _name, number: _number, imageId: _image, state: _state, ...rest } = vm;
  const { machine: _machine, brokenReason: _reason, isUnreadable: _unreadable, ...record } = rest;
  return record;
}

function jsonOrNull(value: unknown): string | null {
  return value === undefined ? null : JSON.stringify(value);
}

/** A row that cannot be read is a broken VM, never an absent one. */
function parseRow(row: Record<string, unknown>): Vm {
  const identity = {
    id: String(row.id) as VmId,
    name: String(row.name) as VmName,
    number: Number(row.number),
    imageId: String(row.image_id) as ImageId,
  };
  const brokenReason = typeof row.broken_reason === "string" ? { brokenReason: row.broken_reason } : {};
  try {
    const machine = typeof row.machine === "string" ? JSON.parse(row.machine) as unknown : undefined;
    return {
      ...vmRecordSchema.parse(JSON.parse(String(row.record))),
      ...identity,
      state: vmStateSchema.parse(row.state),
      ...(machine === undefined ? {} : { machine }),
      ...brokenReason,
    } as Vm;
  } catch {
    // Whatever is wrong with the text: the daemon looks for the record beside the disks, or shows this.
    const state = row.state === "removing" ? "removing" : "broken";
    const reason = "its record in the database cannot be read";
    return {
      ...UNKNOWN_RECORD,
      ...identity,
      state,
      brokenReason: reason,
      ...brokenReason,
      isUnreadable: true,
    };
  }
}
