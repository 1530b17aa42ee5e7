import type { ByteString, DirectoryInode } from "../../base/tree.ts";

/**
 * What of the tree the current layer has put there or reached through: its own whiteouts spare that, since
 * they hide only what layers below have (image-spec, layer.md: "MUST only apply to resources in lower/parent
 * layers"), while attributes and content of directories from below are shared by both.
 */
export class LayerMarks {
  /** Directories that the layer named or put something into. A directory has one entry, so its inode will do. */
  readonly #directories: Set<DirectoryInode>;
  /** Other entries by name: their inodes may be linked from below. */
  readonly #names = new Map<DirectoryInode, Set<ByteString>>();

  constructor(root: DirectoryInode) {
    this.#directories = new Set([root]);
  }

  /** @param chain the directories from the root to the one where `name` now is */
  mark(chain: readonly DirectoryInode[], name: ByteString): void {
    for (let i = chain.length - 1; i >= 0 && !this.#directories.has(chain[i]!); i--) {
      this.#directories.add(chain[i]!);
    }
    const parent = chain.at(-1)!;
    const inode = parent.entries.get(name);
    if (inode?.kind === "directory") this.#directories.add(inode);
    let names = this.#names.get(parent);
    if (names === undefined) this.#names.set(parent, names = new Set());
    names.add(name);
  }

  #isOfLayer(parent: DirectoryInode, name: ByteString): boolean {
    const inode = parent.entries.get(name);
    if (inode?.kind === "directory") return this.#directories.has(inode);
    return this.#names.get(parent)?.has(name) === true;
  }

  /** Removes an entry, or, where the layer has it too, what of it comes from below. */
  removeLowerEntry(parent: DirectoryInode, name: ByteString): void {
    if (!this.#isOfLayer(parent, name)) {
      parent.entries.delete(name);
      return;
    }
    const inode = parent.entries.get(name);
    if (inode?.kind === "directory") this.removeLower(inode);
  }

  /** Removes everything below `directory` that does not come from the layer. */
  removeLower(directory: DirectoryInode): void {
    const pending = [directory];
    for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
      for (const [name, inode] of next.entries) {
        if (!this.#isOfLayer(next, name)) next.entries.delete(name);
        else if (inode.kind === "directory") pending.push(inode);
      }
    }
  }
}
