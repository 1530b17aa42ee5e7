import type { Attributes, ByteString } from "../../base/tree.ts";

export type TarEntryKind =
  | "file"
  | "hard-link"
  | "symlink"
  | "directory"
  | "character-device"
  | "block-device"
  | "fifo";

/** One member of an archive, with everything that extended headers say about it already in. */
export interface TarEntry {
  readonly kind: TarEntryKind;
  /** As written: maybe absolute, with `..`, or with a slash at the end. Never empty. */
  readonly path: ByteString;
  /** Of hard links and symlinks, never empty; else "". */
  readonly linkTarget: ByteString;
  readonly attributes: Attributes;
  /** Of the content; 0 for all but files. */
  readonly sizeBytes: number;
  /** Of devices; else 0. */
  readonly major: number;
  readonly minor: number;
}

/** Entries one after another, each with its content, in one pass. */
export interface EntrySource {
  /** Skips what is left of the entry before. @returns undefined after the last */
  nextEntry(): Promise<TarEntry | undefined>;
  /** The next piece of the current entry's content, valid until the next call. @returns undefined at its end */
  nextChunk(): Promise<Uint8Array | undefined>;
}
