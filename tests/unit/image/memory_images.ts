import { BangerError } from "../../../lib/base/errors.ts";
import type { ImageServiceOptions } from "../../../lib/image/service.ts";
import type { ImageRecord } from "../../../lib/store/records.ts";

/** The table of images without a database. */
export function memoryImages(usersOf: (id: string) => string[] = () => []): ImageServiceOptions["images"] {
  const records = new Map<string, ImageRecord>();
  const find = (nameOrId: string) =>
    [...records.values()].find(({ id, name }) => id === nameOrId || name === nameOrId);
  return {
    list: () => [...records.values()].sort((a, b) => a.name < b.name ? -1 : 1),
    find,
    insert: (record) => {
      if (find(record.name) ?? find(record.id)) {
        throw new BangerError("already_exists", "Cannot add it: it is there already", "Remove it first");
      }
      records.set(record.id, record);
    },
    update: (record) => void records.set(record.id, record),
    remove: (id) => void records.delete(id),
    users: usersOf,
    unreadable: () => [],
  };
}
