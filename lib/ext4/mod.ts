/** The writer and the reader of ext4 filesystems: what other rooms use of this one. */
export { type FilesystemOptions, type FilesystemSummary, FilesystemWriter } from "./writer.ts";
export {
  type FilesystemDescription,
  FilesystemReader,
  openFilesystem,
  type ReaderOptions,
  readFilesystemSummary,
} from "./reader.ts";
export type { HoleWriter } from "./content.ts";
export type { ReadableDisk } from "./superblock_reader.ts";
export { crc32c, CRC32C_START } from "./crc32c.ts";
