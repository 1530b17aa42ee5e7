/**
 * Reading below one directory by names as bytes, and never by a way out of it: what other people's files
 * are read with. `lib/sys/tree_reader.ts` implements it.
 */
import type { ByteString } from "./tree.ts";

export interface TreeReader extends Disposable {
  /**
   * @param path relative; symlinks on the way are not followed, nor is the last one
   * @returns undefined where nothing is, or a part of the way is no directory
   */
  find(path: ByteString): TreeStat | undefined;
  /** The target as it is. */
  readLink(path: ByteString): ByteString;
  /** @throws {BangerError} where it is no regular file */
  open(path: ByteString): TreeFile;
}

export interface TreeStat {
  readonly kind: "file" | "directory" | "symlink" | "other";
  /** 0 to 0o7777 */
  readonly mode: number;
  readonly sizeBytes: number;
  /** Since 1970; whole seconds, rounded down. */
  readonly mtimeSeconds: number;
}

export interface TreeFile extends Disposable {
  readonly stat: TreeStat;
  /** Goes on where the last read ended. @returns bytes read, 0 at the end */
  read(into: Uint8Array): number;
}
