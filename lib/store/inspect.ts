import { DatabaseSync } from "node:sqlite";
import { reasonOf } from "../base/errors.ts";
import { ImageTable } from "./image_table.ts";
import type { ImageRecord, Vm } from "./records.ts";
import { MIGRATIONS } from "./schema.ts";
import { VmTable } from "./vm_table.ts";

export type InspectedDatabase =
  | { readonly kind: "sound"; readonly images: readonly ImageRecord[]; readonly vms: readonly Vm[] }
  | { readonly kind: "unreadable"; readonly reason: string };

/**
 * Looks at the database without changing it. Not while the daemon has it open: two connections may meet the
 * bug that `Store` speaks of.
 */
export function inspectDatabase(path: string): InspectedDatabase {
  try {
    using database = closing(new DatabaseSync(path, { readOnly: true }));
    const version = Number(database.value.prepare("PRAGMA user_version").get()?.user_version);
    if (version > MIGRATIONS.length) {
      return { kind: "unreadable", reason: `its schema ${version} is of a newer banger` };
    }
    const check = String(database.value.prepare("PRAGMA quick_check(1)").get()?.quick_check);
    if (check !== "ok") return { kind: "unreadable", reason: check };
    // An older schema is read once the daemon has migrated it.
    if (version < MIGRATIONS.length) return { kind: "sound", images: [], vms: [] };
    return {
      kind: "sound",
      images: new ImageTable(database.value).list(),
      vms: new VmTable(database.value).list(),
    };
  } catch (thrown) {
    return { kind: "unreadable", reason: reasonOf(thrown) };
  }
}

/** `DatabaseSync` of this Deno has no `Symbol.dispose` of its own. */
function closing(database: DatabaseSync): { value: DatabaseSync } & Disposable {
  return { value: database, [Symbol.dispose]: () => database.close() };
}
