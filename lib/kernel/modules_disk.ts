import type { RandomAccessFile } from "../base/host.ts";
import {
  type ByteString,
  byteStringOfText,
  type ContentSink,
  type DirectoryInode,
  EPOCH,
  type StoredContent,
} from "../base/tree.ts";
import { emptyDirectory } from "../base/tree.ts";
import { insertFile, storeBytes } from "../base/tree_paths.ts";
import type { SpooledModule } from "./package_contents.ts";

const COPY_BYTES = 1024 * 1024;

/**
 * The tree of the modules disk: what /lib/modules/VERSION holds in the guest.
 *
 * @param files from `moduleFiles`
 */
export async function fillModulesDisk(
  sink: ContentSink,
  spool: RandomAccessFile,
  modules: readonly SpooledModule[],
  files: ReadonlyMap<string, Uint8Array>,
  signal: AbortSignal,
): Promise<DirectoryInode> {
  const root = emptyDirectory(0o755, EPOCH);
  const buffer = new Uint8Array(COPY_BYTES);
  for (const module of modules) {
    signal.throwIfAborted();
    insertFile(root, module.path as ByteString, await copyModule(sink, spool, module, buffer));
  }
  for (const [name, bytes] of files) {
    insertFile(root, byteStringOfText(name), await storeBytes(sink, bytes));
  }
  return root;
}

async function copyModule(
  sink: ContentSink,
  spool: RandomAccessFile,
  module: SpooledModule,
  buffer: Uint8Array,
): Promise<StoredContent> {
  const writer = sink.begin();
  try {
    for (let done = 0; done < module.sizeBytes;) {
      const piece = buffer.subarray(0, Math.min(buffer.length, module.sizeBytes - done));
      await spool.readAt(piece, module.offsetBytes + done);
      await writer.write(piece);
      done += piece.length;
    }
    return await writer.end();
  } catch (failure) {
    await writer.abort();
    throw failure;
  }
}
