/** Statements that change the database pass the gate, by taking the place of `node:sqlite`'s own methods. */
import { DatabaseSync, StatementSync } from "node:sqlite";
import type { FaultError, Gate } from "./gate.ts";

/** What SQLite makes of a failing disk. Source: sqlite.org/rescode.html */
const RESULTS: Readonly<Record<FaultError, readonly [number, string]>> = {
  ENOSPC: [13, "database or disk is full"],
  EIO: [778, "disk I/O error"],
  EMFILE: [14, "unable to open database file"],
  EACCES: [8, "attempt to write a readonly database"],
};

export function gateDatabase(gate: Gate): void {
  const { run } = StatementSync.prototype;
  const { exec, prepare } = DatabaseSync.prototype;
  const texts = new WeakMap<StatementSync, string>();
  DatabaseSync.prototype.prepare = function (this: DatabaseSync, sql: string) {
    const statement = prepare.call(this, sql);
    texts.set(statement, sql);
    return statement;
  };
  // Each is a transaction of its own: what returns is committed.
  StatementSync.prototype.run = function (this: StatementSync, ...values: Parameters<typeof run>) {
    const name = `database ${nameOf(texts.get(this) ?? "?", values)}`;
    return gate.passSync(name, () => run.apply(this, values), failure);
  } as typeof run;
  DatabaseSync.prototype.exec = function (this: DatabaseSync, sql: string) {
    return gate.passSync(`database ${nameOf(sql, [])}`, () => exec.call(this, sql), failure);
  };
}

/** With the state, which tells one update of a VM from another. */
function nameOf(sql: string, values: readonly unknown[]): string {
  const state = values.find((value) =>
    typeof value === "string" && /^(stopp|start|runn|remov|creat|brok)/.test(value)
  );
  const text = sql.replaceAll(/\s+/g, " ").trim().slice(0, 40);
  return state === undefined ? text : `${text} (${state})`;
}

function failure(error: FaultError): Error {
  const [errcode, errstr] = RESULTS[error];
  return Object.assign(new Error(`${errstr} (made up)`), { errcode, errstr, code: "ERR_SQLITE_ERROR" });
}
