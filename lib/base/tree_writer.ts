/**
 * Writing below one directory by names as bytes, and never by a way out of it: where what a guest sends is put.
 * `lib/sys/tree_writer.ts` implements it.
 */
import type { ByteString } from "./tree.ts";

/** Paths are relative; no symlink on the way is followed, and no `..` is taken. */
export interface TreeWriter extends Disposable {
  /** @returns undefined where nothing is */
  kind(path: ByteString): "file" | "directory" | "symlink" | "other" | undefined;
  /** For nobody else until `finishDirectory`. @throws {BangerError} `already_exists` */
  makeDirectory(path: ByteString): void;
  /** @throws {BangerError} `already_exists` */
  createFile(path: ByteString): TreeFileWriter;
  /** @throws {BangerError} `already_exists` */
  makeSymlink(path: ByteString, target: ByteString, attributes: NodeAttributes): void;
  /** Another name for a file. @throws {BangerError} `already_exists`, `not_found` */
  link(existing: ByteString, path: ByteString): void;
  finishDirectory(path: ByteString, attributes: NodeAttributes): void;
  /** Replaces a file or symlink. @throws {BangerError} where the other is a directory */
  rename(from: ByteString, to: ByteString): void;
  /** A file or symlink; fine if it is absent. */
  removeFile(path: ByteString): void;
  /** An empty directory; fine if it is absent, or not empty: then it stays. */
  removeDirectory(path: ByteString): void;
}

export interface NodeAttributes {
  /** 0 to 0o777; of symlinks it means nothing. */
  readonly mode: number;
  readonly mtimeSeconds: number;
  /** Undefined: whoever makes it. */
  readonly owner?: { readonly uid: number; readonly gid: number } | undefined;
}

export interface TreeFileWriter extends Disposable {
  /** Writes all of it. */
  write(bytes: Uint8Array): void;
  finish(attributes: NodeAttributes): void;
}
