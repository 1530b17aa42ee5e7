/** What other rooms use of `lib/oci`. */
export { decompress } from "./compression/decompress.ts";
export { TarReader } from "./tar/reader.ts";
export type { EntrySource, TarEntry } from "./tar/entry.ts";
export {
  DEFAULT_REPLAY_LIMITS,
  type ReplayLimits,
  type ReplayTotals,
  TreeBuilder,
} from "./replay/tree_builder.ts";
