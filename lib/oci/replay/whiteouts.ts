import { BangerError } from "../../base/errors.ts";
import type { ByteString } from "../../base/tree.ts";
import { quoteBytes } from "../../base/tree_paths.ts";
import type { TarEntry } from "../tar/entry.ts";

const PREFIX = ".wh.";
const META_PREFIX = ".wh..wh.";
const OPAQUE = ".wh..wh..opq";

/** What a layer's entry is, by its name. */
export type EntryRole =
  | { readonly kind: "ordinary" }
  /** Bookkeeping of AUFS, never visible, without meaning for us. */
  | { readonly kind: "hidden" }
  | { readonly kind: "opaque" }
  | { readonly kind: "whiteout"; readonly hides: ByteString };

const ORDINARY: EntryRole = { kind: "ordinary" };
const HIDDEN: EntryRole = { kind: "hidden" };

/**
 * Tells whiteouts from what becomes visible.
 *
 * @param names the entry's cleaned path
 * @throws {BangerError} `corrupt_data` for whiteouts that name nothing, the directory itself or its parent,
 * that have content, or that are no plain file
 * Source: OCI image-spec, layer.md, "Whiteouts"
 */
export function roleOf(names: readonly ByteString[], entry: TarEntry): EntryRole {
  if (!names.some((name) => name.startsWith(PREFIX))) return ORDINARY;
  const name = names.at(-1)!;
  const parents = names.slice(0, -1);
  if (parents.some((part) => part.startsWith(META_PREFIX) && part !== OPAQUE)) return HIDDEN;
  if (parents.some((part) => part.startsWith(PREFIX))) {
    throw badWhiteout(entry, "a whiteout cannot be a directory");
  }
  const isOpaque = name === OPAQUE;
  if (name.startsWith(META_PREFIX) && !isOpaque) return HIDDEN;
  if (entry.kind !== "file" || entry.sizeBytes > 0) {
    throw badWhiteout(entry, "a whiteout must be an empty file");
  }
  if (isOpaque) return { kind: "opaque" };
  const hides = name.slice(PREFIX.length) as ByteString;
  if (hides === "" || hides === "." || hides === "..") throw badWhiteout(entry, "it hides no name");
  return { kind: "whiteout", hides };
}

function badWhiteout(entry: TarEntry, why: string): BangerError {
  return new BangerError(
    "corrupt_data",
    `Cannot apply the whiteout ${quoteBytes(entry.path)} of an image layer: ${why}`,
  );
}
