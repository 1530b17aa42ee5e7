import { BangerError } from "../base/errors.ts";
import { parseVmName, quote, type VmName } from "../base/names.ts";

/** One end of a copy. */
export type Place =
  | { readonly kind: "guest"; readonly vm: VmName; readonly path: string }
  | { readonly kind: "host"; readonly path: string }
  /** A tar on standard input or output. */
  | { readonly kind: "stream" };

/**
 * Reads what a user wrote: `web:/etc/hosts` is in a VM, `-` a tar on a standard stream, all else a path on this host;
 * a host's path with a colon is written with a slash before it (`./a:b`).
 *
 * @throws {BangerError} `invalid_argument`
 */
export function parsePlace(text: string): Place {
  if (text === "-") return { kind: "stream" };
  const colon = text.indexOf(":");
  if (colon < 0 || text.slice(0, colon).includes("/")) {
    if (text !== "") return { kind: "host", path: text };
    throw new BangerError("invalid_argument", "Cannot copy: a path is empty");
  }
  const path = text.slice(colon + 1);
  if (path.includes("\0")) throw new BangerError("invalid_argument", `Cannot use ${quote(text)} as a path`);
  return { kind: "guest", vm: parseVmName(text.slice(0, colon)), path: path === "" ? "." : path };
}

/** A path as its last name, what lies before it, and whether its content is meant rather than itself. */
export interface SplitPath {
  /** Where to stand. */
  readonly parent: string;
  /** `.` where the content is meant, or the path has no name of its own. */
  readonly name: string;
  /** `dir/.`, `.`, `..` and `/`: what is in it goes where it is copied to. */
  readonly isContents: boolean;
}

export function splitPath(path: string): SplitPath {
  const trimmed = path.replace(/(?<=.)\/+$/, "");
  const name = trimmed.slice(trimmed.lastIndexOf("/") + 1);
  if (name === "" || name === "." || name === "..") return { parent: trimmed, name: ".", isContents: true };
  const parent = trimmed.slice(0, trimmed.length - name.length).replace(/(?<=.)\/+$/, "");
  return { parent: parent === "" ? "." : parent, name, isContents: false };
}
