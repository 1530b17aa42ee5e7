import { DatabaseSync, type StatementSync } from "node:sqlite";
import { BangerError, reasonOf } from "../base/errors.ts";
import { DamageError } from "./database_error.ts";
import { ImageTable } from "./image_table.ts";
import { MIGRATIONS } from "./schema.ts";
import { VmTable } from "./vm_table.ts";

/**
 * The daemon's database. One connection, used serially: SQLite through 3.51.2 has a bug that corrupts
 * a WAL that several connections reset.
 */
export class Store implements Disposable {
  readonly images: ImageTable;
  readonly vms: VmTable;
  readonly #database: DatabaseSync;
  readonly #changes: StatementSync;

  private constructor(database: DatabaseSync) {
    this.#database = database;
    this.images = new ImageTable(database);
    this.vms = new VmTable(database);
    this.#changes = database.prepare("SELECT total_changes() AS count");
  }

  /**
   * Opens or makes the database and brings it to this build's schema, in one transaction.
   *
   * @throws {BangerError} `state_too_new`, `state_broken`; the file is then as it was
   */
  static open(path: string): Store {
    let database: DatabaseSync | undefined;
    try {
      database = new DatabaseSync(path);
      checkVersion(database, path);
      checkContent(database);
      // Changes the file: only after the looks at it.
      database.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;");
      migrate(database);
      return new Store(database);
    } catch (thrown) {
      database?.close();
      if (thrown instanceof BangerError) throw thrown;
      throw unreadable(path, thrown);
    }
  }

  /**
   * Of the schema of the file, 0 where there is none yet. Everything is in that file afterwards, nothing beside it.
   *
   * @throws {BangerError} `state_broken`
   */
  static settleVersion(path: string): number {
    let database: DatabaseSync | undefined;
    try {
      database = new DatabaseSync(path);
      const version = schemaVersion(database);
      if (version > 0 && version < MIGRATIONS.length) database.exec("PRAGMA wal_checkpoint(TRUNCATE)");
      return version;
    } catch (thrown) {
      throw unreadable(path, thrown);
    } finally {
      database?.close();
    }
  }

  /** Grows with every row that is written: who keeps something derived from rows sees whether it is old. */
  changeCount(): number {
    return Number(this.#changes.get()?.count);
  }

  /** Runs `act` in one transaction. */
  transaction<T>(act: () => T): T {
    this.#database.exec("BEGIN IMMEDIATE");
    try {
      const result = act();
      this.#database.exec("COMMIT");
      return result;
    } catch (thrown) {
      this.#database.exec("ROLLBACK");
      throw thrown;
    }
  }

  [Symbol.dispose](): void {
    if (this.#database.isOpen) this.#database.close();
  }
}

function unreadable(path: string, thrown: unknown): BangerError {
  return new BangerError(
    "state_broken",
    `Cannot read the database ${path}: ${reasonOf(thrown)}`,
    "Nothing was changed. See the disk's health; disks of VMs stay where they are",
    { cause: thrown },
  );
}

function schemaVersion(database: DatabaseSync): number {
  return Number(database.prepare("PRAGMA user_version").get()?.user_version ?? 0);
}

function checkVersion(database: DatabaseSync, path: string): void {
  const version = schemaVersion(database);
  if (version <= MIGRATIONS.length) return;
  throw new BangerError(
    "state_too_new",
    `Cannot use the database ${path}: its schema is version ${version}, and this banger knows ${MIGRATIONS.length}`,
    "Nothing was changed. Use the newer banger that made it, or another XDG_STATE_HOME",
  );
}

/** @throws {DamageError} and what SQLite throws where it finds damage itself */
function checkContent(database: DatabaseSync): void {
  const check = database.prepare("PRAGMA quick_check(1)").get();
  if (check?.quick_check !== "ok") throw new DamageError(String(check?.quick_check));
  if (schemaVersion(database) === 0) return;
  const row = database.prepare(
    "SELECT count(*) AS count FROM sqlite_schema WHERE type = 'table' AND name IN ('images', 'vms')",
  ).get();
  if (row?.count !== 2) throw new DamageError("its tables are missing");
}

function migrate(database: DatabaseSync): void {
  const from = schemaVersion(database);
  if (from === MIGRATIONS.length) return;
  database.exec("BEGIN IMMEDIATE");
  try {
    for (const step of MIGRATIONS.slice(from)) database.exec(step);
    database.exec(`PRAGMA user_version = ${MIGRATIONS.length}`);
    database.exec("COMMIT");
  } catch (thrown) {
    database.exec("ROLLBACK");
    throw thrown;
  }
}
