import type { ContentSink, DirectoryInode } from "../base/tree.ts";

/**
 * Writes a read-only ext4 disk of just the needed size to a new file.
 *
 * `fill` streams file contents into the sink and returns the tree that holds them. Same tree, same contents
 * and same options give the same bytes.
 */
export interface DiskBuilder {
  (
    path: string,
    options: { readonly uuidSeed: string; readonly label: string },
    fill: (sink: ContentSink) => Promise<DirectoryInode>,
  ): Promise<void>;
}
