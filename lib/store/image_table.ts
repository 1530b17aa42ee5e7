import type { DatabaseSync } from "node:sqlite";
import { BangerError } from "../base/errors.ts";
import type { ImageId } from "../base/names.ts";
import { type ImageRecord, imageRecordSchema } from "./records.ts";

export class ImageTable {
  readonly #database: DatabaseSync;

  constructor(database: DatabaseSync) {
    this.#database = database;
  }

  /** By name. */
  list(): ImageRecord[] {
    return this.#database.prepare("SELECT record FROM images ORDER BY name").all().map(parseRow);
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
    this.#database.prepare("INSERT INTO images (id, name, record) VALUES (?, ?, ?)")
      .run(record.id, record.name, JSON.stringify(record));
  }

  /** Replaces the record of an image; its id and name stay. */
  update(record: ImageRecord): void {
    this.#database.prepare("UPDATE images SET record = ? WHERE id = ? AND name = ?")
      .run(JSON.stringify(record), record.id, record.name);
  }

  remove(id: ImageId): void {
    this.#database.prepare("DELETE FROM images WHERE id = ?").run(id);
  }

  /** Names of the VMs made from the image. */
  users(id: ImageId): string[] {
    return this.#database.prepare("SELECT name FROM vms WHERE image_id = ? ORDER BY name").all(id)
      .map((row) => String(row.name));
  }
}

function parseRow(row: unknown): ImageRecord {
  const { record } = row as { record: string };
  return imageRecordSchema.parse(JSON.parse(record));
}
