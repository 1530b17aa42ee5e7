import type { DatabaseSync } from "node:sqlite";
import { BangerError, reasonOf } from "../base/errors.ts";

/** Primary result codes. Source: sqlite.org/rescode.html */
const SQLITE_READONLY = 8;
const SQLITE_CORRUPT = 11;
const SQLITE_FULL = 13;
const SQLITE_NOTADB = 26;

/** As `node:sqlite` tells it; extended codes have the primary one in their lowest byte. */
function primaryCode(thrown: unknown): number | undefined {
  if (!(thrown instanceof Error) || !("errcode" in thrown) || typeof thrown.errcode !== "number") {
    return undefined;
  }
  return thrown.errcode & 0xff;
}

/** A database that SQLite itself would go on reading. */
export class DamageError extends Error {
  override readonly name = "DamageError";
}

/** Whether the file itself is damaged; not where it merely could not be read or written just now. */
export function saysDamaged(thrown: unknown): boolean {
  if (thrown instanceof DamageError) return true;
  const code = primaryCode(thrown);
  return code === SQLITE_CORRUPT || code === SQLITE_NOTADB;
}

/**
 * Runs one statement that changes something; it is committed when this returns.
 *
 * @throws {BangerError} `no_space`, `permission_denied`, `state_broken`; nothing was changed then
 */
export function runStatement(
  database: DatabaseSync,
  sql: string,
  values: readonly (string | number | null)[],
): void {
  try {
    database.prepare(sql).run(...values);
  } catch (thrown) {
    throw writeFailure(thrown);
  }
}

function writeFailure(thrown: unknown): BangerError {
  const cause = { cause: thrown };
  const code = primaryCode(thrown);
  if (code === SQLITE_FULL) {
    return new BangerError(
      "no_space",
      "Cannot write the database: no space left on the disk",
      "Free some space, or move XDG_STATE_HOME",
      cause,
    );
  }
  if (code === SQLITE_READONLY) {
    return new BangerError(
      "permission_denied",
      "Cannot write the database: it is read-only",
      undefined,
      cause,
    );
  }
  return new BangerError(
    "state_broken",
    `Cannot write the database: ${reasonOf(thrown)}`,
    "Nothing was changed. See the disk's health, and the daemon's log: banger daemon logs",
    cause,
  );
}
