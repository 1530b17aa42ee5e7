import type { DatabaseSync } from "node:sqlite";
import { BangerError } from "../base/errors.ts";
import { runStatement } from "./database_error.ts";
import type { ImageId } from "../base/names.ts";
import { type ImageRecord, imageRecordSchema } from "./records.ts";

export class ImageTable {
  readonly #database: DatabaseSync;

  constructor(database: DatabaseSync) {
    this.#database = database;
  }

  /** By name; without those of `unreadable`. */
  list(): ImageRecord[] {
    return this.#database.prepare("SELECT record FROM images ORDER BY name").all()
      .map(tryParseRow).filter((record) => record !== undefined);
  }

  /** Rows whose record cannot be read: what lies beside their disks may say more. */
  unreadable(): { readonly id: ImageId; readonly name: string }[] {
    return this.#database.prepare("SELECT id, name, record FROM images ORDER BY name").all()
      .filter((row) => tryParseRow(row) === undefined)
      .map(({ id, name }) => ({ id: String(id) as ImageId, name: String(name) }));
  }

  /** @param nameOrId a name, an id, or an unambiguous beginning of an id of at least 4 characters */
  find(nameOrId: string): ImageRecord | undefined {
    const exact = this.#database.prepare("SELECT record FROM images WHERE name = ? OR id = ?")
      .get(nameOrId, nameOrId);
    if (exact) return parseRow(exact);
    if (!/^[0-9a-f]{4,}$/.test(nameOrId)) return undefined;
    const rows = this.#database.prepare("SELECT record FROM images WHERE id GLOB ? || '*' LIMIT 2").all(
      nameOrId,
    );
    return rows.length === 1 ? parseRow(rows[0]) : undefined;
  }

  /** @throws {BangerError} `already_exists` where the name or the id is taken */
  insert(record: ImageRecord): void {
    const taken = this.find(record.name) ?? this.find(record.id);
    if (taken) {
      throw new BangerError(
        "already_exists",
        `Cannot add image ${record.name}: image ${taken.name} (${taken.id}) is there already`,
        `Remove it first: banger image rm ${taken.name}`,
      );
    }
    runStatement(this.#database, "INSERT INTO images (id, name, record) VALUES (?, ?, ?)", [
      record.id,
      record.name,
      JSON.stringify(record),
    ]);
  }

  /** Replaces the record of an image; its id and name stay. */
  update(record: ImageRecord): void {
    runStatement(this.#database, "UPDATE images SET record = ? WHERE id = ? AND name = ?", [
      JSON.stringify(record),
      record.id,
      record.name,
    ]);
  }

  remove(id: ImageId): void {
    runStatement(this.#database, "DELETE FROM images WHERE id = ?", [id]);
  }

  /** Names of the VMs made from the image. */
  users(id: ImageId): string[] {
    // The root disk of a change of image that can be undone still lies over its image.
    return this.#database.prepare(
      `SELECT name FROM vms WHERE image_id = ? OR
       (json_valid(record) AND json_extract(record, '$.previousRoot.imageId') = ?) ORDER BY name`,
    ).all(id, id)
      .map((row) => String(row.name));
  }
}

/** @throws {BangerError} `state_broken` */
function parseRow(row: unknown): ImageRecord {
  const record = tryParseRow(row);
  if (record) return record;
  throw new BangerError(
    "state_broken",
    "Cannot use an image: its record in the database cannot be read",
    "Its disk is untouched. See what the daemon found when it started: banger daemon logs",
  );
}

function tryParseRow(row: unknown): ImageRecord | undefined {
  const { record } = row as { record: string };
  try {
    return imageRecordSchema.parse(JSON.parse(record));
  } catch {
    // Whatever is wrong with the text, the caller tells of it: it is one of `unreadable`.
    return undefined;
  }
}
