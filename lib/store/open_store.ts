import { BangerError } from "../base/errors.ts";
import type { Host } from "../base/host.ts";
import { temporaryName } from "../base/temporary_names.ts";
import { saysDamaged } from "./database_error.ts";
import { MIGRATIONS } from "./schema.ts";
import { Store } from "./store.ts";

type StoreHost = Pick<Host, "files" | "clock" | "log">;

export interface OpenedStore {
  readonly store: Store;
  /** Where a damaged database was put; the one in use began empty then. */
  readonly damagedPath?: string;
}

/**
 * As `Store.open`, with a copy kept of what is brought to another schema. A damaged database is put aside for an
 * empty one, which is then filled from the records beside the disks. One that is newer, or that cannot be read just
 * now, is left alone: that is not damage.
 *
 * @throws {BangerError} `state_too_new`, `state_broken`, `no_space`
 */
export async function openStore(host: StoreHost, path: string): Promise<OpenedStore> {
  try {
    await backUp(host, path);
    return { store: Store.open(path) };
  } catch (thrown) {
    if (!(thrown instanceof BangerError) || !saysDamaged(thrown.cause)) throw thrown;
    const damagedPath = await putAside(host, path);
    host.log("error", "the database is damaged: it is made again from what lies beside the disks", {
      damagedPath,
      thrown,
    });
    return { store: Store.open(path), damagedPath };
  }
}

/** Before a migration. */
async function backUp({ files, clock, log }: StoreHost, path: string): Promise<void> {
  if (!(await files.stat(path))) return;
  const version = Store.settleVersion(path);
  if (version === 0 || version >= MIGRATIONS.length) return;
  const backup = `${path}.backup-v${version}-${clock.now()}`;
  const unfinished = temporaryName(backup, crypto.randomUUID().slice(0, 8));
  try {
    await files.copySparse(path, unfinished);
    await using file = await files.open(unfinished, { read: true, write: true });
    await file.sync();
    await files.rename(unfinished, backup);
  } catch (thrown) {
    await files.remove(unfinished);
    throw thrown;
  }
  log("info", "the database is brought to another schema; a copy is kept", { backup, version });
}

async function putAside({ files, clock }: StoreHost, path: string): Promise<string> {
  const damagedPath = `${path}.damaged-${clock.now()}`;
  // The log first: left beside a new database, it would be replayed into that.
  for (const suffix of ["-wal", "-shm", ""]) {
    if (!(await files.stat(`${path}${suffix}`))) continue;
    await files.rename(`${path}${suffix}`, `${damagedPath}${suffix}`);
  }
  return damagedPath;
}
