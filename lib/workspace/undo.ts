/** What a landing is about to change, kept so that all of it can be brought back where writing fails half-way. */
import { BangerError } from "../base/errors.ts";
import { type ByteString, byteStringOfText } from "../base/tree.ts";
import type { TreeWriter } from "../base/tree_writer.ts";
import type { Change } from "./changes.ts";

const DIRECTORY_MODE = 0o755;

/**
 * Second names of the same files, in a directory of the working tree itself: they take no room on the disk, bring
 * back content, mode and time as they were, and a full disk does not keep them from it. Git writes a file anew
 * and never into the one that is there.
 */
class Undo {
  /** Below the working tree. */
  readonly directory: ByteString;
  readonly #writer: TreeWriter;
  readonly #kept = new Map<ByteString, ByteString>();
  /** What was not there: files, and the directories that they need. */
  readonly #newFiles: ByteString[] = [];
  readonly #newDirectories = new Set<ByteString>();

  constructor(writer: TreeWriter) {
    this.#writer = writer;
    this.directory = byteStringOfText(`.banger-undo-${crypto.randomUUID().slice(0, 8)}`);
  }

  /** @throws {BangerError} where the file system has no second names, or does not let them be made */
  keep(changes: readonly Change[]): void {
    this.#writer.makeDirectory(this.directory);
    for (const { path } of changes) {
      const kind = this.#kindOf(path);
      if (kind === "file" || kind === "symlink") {
        const name = `${this.directory}/${this.#kept.size}` as ByteString;
        this.#writer.link(path, name);
        this.#kept.set(path, name);
      } else {
        // Nothing, or a directory whose files go first.
        this.#newFiles.push(path);
        for (const parent of parentsOf(path)) {
          if (this.#kindOf(parent) === undefined) this.#newDirectories.add(parent);
        }
      }
    }
  }

  /** @throws {BangerError} where not all could be brought back: what was kept stays then */
  restore(): void {
    for (const path of this.#newFiles) {
      const kind = this.#kindOf(path);
      if (kind === "file" || kind === "symlink") this.#writer.removeFile(path);
    }
    // Deepest first. Where somebody has put something into one meanwhile, it stays.
    for (const path of [...this.#newDirectories].toSorted().reverse()) {
      if (this.#kindOf(path) === "directory") this.#writer.removeDirectory(path);
    }
    for (const [path, name] of this.#kept) {
      for (const parent of parentsOf(path)) this.#makeDirectory(parent);
      // Of one that was not touched it does nothing.
      this.#writer.rename(name, path);
    }
  }

  /** Removes what was kept. */
  forget(): void {
    for (const name of this.#kept.values()) this.#writer.removeFile(name);
    this.#writer.removeDirectory(this.directory);
  }

  #makeDirectory(path: ByteString): void {
    if (this.#kindOf(path) === "directory") return;
    this.#writer.makeDirectory(path);
    this.#writer.finishDirectory(path, { mode: DIRECTORY_MODE, mtimeSeconds: 0 });
  }

  /** @returns undefined, too, where a part of the way is no directory */
  #kindOf(path: ByteString): ReturnType<TreeWriter["kind"]> {
    if (parentsOf(path).some((parent) => this.#writer.kind(parent) !== "directory")) return undefined;
    return this.#writer.kind(path);
  }
}

/** From the top down. */
function parentsOf(path: ByteString): ByteString[] {
  const parents: ByteString[] = [];
  for (let at = path.indexOf("/"); at > 0; at = path.indexOf("/", at + 1)) {
    parents.push(path.slice(0, at) as ByteString);
  }
  return parents;
}

/**
 * Does what changes these files, all of it or nothing.
 *
 * @throws what `act` throws, once all is as it was; `wrong_state` where that fails, too, saying where it is kept
 */
export async function allOrNothing(
  writer: TreeWriter,
  changes: readonly Change[],
  act: () => Promise<void>,
): Promise<void> {
  const undo = new Undo(writer);
  try {
    undo.keep(changes);
  } catch (failure) {
    undo.forget();
    // A file system without second names (FAT, some of the network's) keeps nothing: all was checked before, at least.
    if (!(failure instanceof BangerError && failure.code === "permission_denied")) throw failure;
    return await act();
  }
  try {
    await act();
  } catch (failure) {
    try {
      undo.restore();
    } catch (cause) {
      const text = failure instanceof Error ? failure.message : String(failure);
      throw new BangerError(
        "wrong_state",
        `${text}. Not all could be brought back to what it was`,
        `The files as they were lie in ${undo.directory} of the working tree`,
        { cause },
      );
    }
    undo.forget();
    throw failure;
  }
  undo.forget();
}
