import type { Brand } from "./brand.ts";

/**
 * A file name or path as its bytes, one UTF-16 unit (0-255) a byte (ISO 8859-1). Names in images are
 * bytes, not text: decoding them as UTF-8 would map distinct invalid names to one.
 */
export type ByteString = Brand<string, "ByteString">;

/** Bytes as they are. */
export function byteString(bytes: Uint8Array): ByteString {
  let text = "";
  for (let at = 0; at < bytes.length; at += 8192) {
    text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  }
  return text as ByteString;
}

/** Text of ours or a user's, as UTF-8 bytes. */
export function byteStringOfText(text: string): ByteString {
  return byteString(new TextEncoder().encode(text));
}

export function bytesOf(text: ByteString): Uint8Array {
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

/** For messages only: bytes that are no UTF-8 become U+FFFD. */
export function displayText(text: ByteString): string {
  return new TextDecoder().decode(bytesOf(text));
}

export interface Timestamp {
  /** Seconds since 1970-01-01 UTC; may be negative. */
  readonly seconds: number;
  /** 0 to 999,999,999. */
  readonly nanoseconds: number;
}

export interface Attributes {
  /** Permission bits with setuid, setgid and sticky: 0 to 0o7777. */
  mode: number;
  /** 0 to 2^32 - 1. */
  uid: number;
  gid: number;
  mtime: Timestamp;
  /** By full name (`security.capability`, `user.x`), values raw. */
  xattrs: ReadonlyMap<string, Uint8Array>;
}

/**
 * File content that already lies in a content sink. Only the sink that made it can read its token.
 */
export interface StoredContent {
  readonly sizeBytes: number;
  readonly token: unknown;
}

/**
 * Where file contents flow while a tree is put together, so that no content is ever held in memory.
 * Contents may be begun and ended one after another only (one open at a time).
 */
export interface ContentSink {
  begin(): ContentWriter;
}

export interface ContentWriter {
  /** The bytes are taken before the promise resolves: the caller may reuse the buffer then. */
  write(chunk: Uint8Array): Promise<void>;
  end(): Promise<StoredContent>;
  /** Gives back what was written so far. */
  abort(): Promise<void>;
}

/**
 * An inode of the in-memory tree. Two entries that hold the same object are hard links of each other.
 */
export type Inode = FileInode | DirectoryInode | SymlinkInode | SpecialInode;

export interface FileInode {
  readonly kind: "file";
  attributes: Attributes;
  content: StoredContent;
}

export interface DirectoryInode {
  readonly kind: "directory";
  attributes: Attributes;
  /** By byte-exact name; never `.`, `..`, empty, or with a slash. Insertion order has no meaning. */
  readonly entries: Map<ByteString, Inode>;
}

export interface SymlinkInode {
  readonly kind: "symlink";
  attributes: Attributes;
  readonly target: ByteString;
}

export interface SpecialInode {
  readonly kind: "character-device" | "block-device" | "fifo" | "socket";
  attributes: Attributes;
  /** 0 for FIFOs and sockets. */
  readonly major: number;
  readonly minor: number;
}

export const EPOCH: Timestamp = { seconds: 0, nanoseconds: 0 };
export const NO_XATTRS: ReadonlyMap<string, Uint8Array> = new Map();

/** Attributes of what banger itself adds: root's, dated 1970 so that images stay reproducible. */
export function rootOwned(mode: number, mtime: Timestamp = EPOCH): Attributes {
  return { mode, uid: 0, gid: 0, mtime, xattrs: NO_XATTRS };
}

export function emptyDirectory(mode = 0o755, mtime: Timestamp = EPOCH): DirectoryInode {
  return { kind: "directory", attributes: rootOwned(mode, mtime), entries: new Map() };
}
