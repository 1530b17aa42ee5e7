import { BangerError, reasonOf } from "../base/errors.ts";
import type { Files } from "../base/host.ts";
import { formatBytes, MIB } from "../base/units.ts";
import type { SyncedEntry } from "../guest/config/synced_files.ts";

/** A file or a directory of the host that every machine gets at its start. */
export interface FileSync {
  /** Absolute. A symlink here is followed; those below it are left out. */
  readonly hostPath: string;
  /** Absolute. */
  readonly guestPath: string;
  /** Nobody misses it where it is not there: a tool's credentials, of which a user may have none. */
  readonly isOptional?: boolean;
}

export interface Collected {
  readonly entries: readonly SyncedEntry[];
  /** What was left out, for people. */
  readonly notes: readonly string[];
}

/**
 * They go through the guest's memory at boot: settings and credentials fit, repositories and caches do not.
 * Exported for tests.
 */
export const MAX_SYNCED_BYTES = 16 * MIB;
/** Exported for tests. */
export const MAX_SYNCED_ENTRIES = 4096;
const MAX_DEPTH = 32;
/** Set-user-id and its kin are no one's settings. */
const MODE_BITS = 0o777;

type ReadableFiles = Pick<Files, "stat" | "list" | "readBytes" | "realPath">;

/**
 * Reads what is synced. What is not there, can't be read or is neither file nor directory is left out and told.
 *
 * @throws {BangerError} `invalid_argument` where it is more than the limits allow
 */
export async function collectSyncedFiles(
  files: ReadableFiles,
  syncs: readonly FileSync[],
): Promise<Collected> {
  const collector = new Collector(files);
  for (const sync of syncs) await collector.add(sync);
  return { entries: collector.entries, notes: collector.notes };
}

class Collector {
  readonly entries: SyncedEntry[] = [];
  readonly notes: string[] = [];
  readonly #files: ReadableFiles;
  #sizeBytes = 0;

  constructor(files: ReadableFiles) {
    this.#files = files;
  }

  async add({ hostPath, guestPath, isOptional }: FileSync): Promise<void> {
    const real = await this.#files.realPath(hostPath);
    if (real !== undefined) await this.#walk(real, guestPath, 0);
    else if (!isOptional) this.#leaveOut(hostPath, "it is not there");
  }

  async #walk(hostPath: string, guestPath: string, depth: number): Promise<void> {
    const stat = await this.#files.stat(hostPath);
    if (!stat) return this.#leaveOut(hostPath, "it has just gone");
    const mode = stat.mode & MODE_BITS;
    if (stat.kind === "file") {
      const content = await this.#read(hostPath);
      if (content) this.#put({ kind: "file", path: guestPath, mode, content });
      return;
    }
    if (stat.kind === "symlink") return this.#leaveOut(hostPath, "it is a symlink");
    if (stat.kind === "other") return this.#leaveOut(hostPath, "it is neither file nor directory");
    if (depth >= MAX_DEPTH) return this.#leaveOut(hostPath, `it lies ${MAX_DEPTH} directories deep`);
    const names = await this.#names(hostPath);
    if (!names) return;
    this.#put({ kind: "directory", path: guestPath, mode });
    for (const name of names) await this.#walk(`${hostPath}/${name}`, `${guestPath}/${name}`, depth + 1);
  }

  async #read(path: string): Promise<Uint8Array | undefined> {
    const left = MAX_SYNCED_BYTES - this.#sizeBytes;
    try {
      return await this.#files.readBytes(path, left);
    } catch (thrown) {
      if (thrown instanceof BangerError && thrown.code === "corrupt_data") throw tooMuch(path);
      return void this.#leaveOut(path, reasonOf(thrown));
    }
  }

  async #names(path: string): Promise<string[] | undefined> {
    try {
      return await this.#files.list(path);
    } catch (thrown) {
      return void this.#leaveOut(path, reasonOf(thrown));
    }
  }

  #put(entry: SyncedEntry): void {
    this.entries.push(entry);
    if (entry.kind === "file") this.#sizeBytes += entry.content.length;
    if (this.entries.length > MAX_SYNCED_ENTRIES) throw tooMuch(entry.path);
  }

  #leaveOut(path: string, why: string): void {
    this.notes.push(`file_sync leaves out ${path}: ${why}`);
  }
}

function tooMuch(path: string): BangerError {
  return new BangerError(
    "invalid_argument",
    `Cannot sync files: with ${path} they are more than ${
      formatBytes(MAX_SYNCED_BYTES)
    } or ${MAX_SYNCED_ENTRIES} entries`,
    "Name smaller files or directories in [[file_sync]] of config.toml, and copy large ones with banger vm cp",
  );
}
