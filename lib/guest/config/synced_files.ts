import { BangerError } from "../../base/errors.ts";
import { quote } from "../../base/names.ts";
import { type UstarEntry, writeUstar } from "./ustar.ts";

/** A file or a directory as it shall be in the guest, root's own. */
export type SyncedEntry =
  | { readonly kind: "directory"; readonly path: string; readonly mode: number }
  | { readonly kind: "file"; readonly path: string; readonly mode: number; readonly content: Uint8Array };

/**
 * A tar that is unpacked over the guest's root directory. Only what was asked for is in it, so the directories
 * above stay as they are.
 *
 * @throws {BangerError} `invalid_argument` for a path that leads elsewhere than it says
 */
export function syncedFilesTar(entries: readonly SyncedEntry[]): Uint8Array<ArrayBuffer> {
  return writeUstar(entries.map((entry): UstarEntry => {
    const name = relativePath(entry.path);
    return entry.kind === "file"
      ? { name, mode: entry.mode, content: entry.content }
      : { name: `${name}/`, mode: entry.mode, content: new Uint8Array(), isDirectory: true };
  }));
}

function relativePath(path: string): string {
  const parts = path.split("/").filter((part) => part !== "" && part !== ".");
  if (path.startsWith("/") && parts.length > 0 && !parts.includes("..") && !path.includes("\0")) {
    return parts.join("/");
  }
  throw new BangerError(
    "invalid_argument",
    `Cannot sync a file to ${quote(path)}: it is no absolute path of a guest`,
    "Write an absolute path without .. as guest in [[file_sync]] of config.toml",
  );
}
