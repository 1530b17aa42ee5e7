import type { ContentSink, ContentWriter, DirectoryInode, StoredContent } from "../../../lib/base/tree.ts";
import { byteStringOfText } from "../../../lib/base/tree.ts";
import { lookup } from "../../../lib/base/tree_paths.ts";

/** Keeps contents in memory and checks the contract: one writer open at a time, none after its end. */
export class MemorySink implements ContentSink {
  aborted = 0;
  #isOpen = false;

  begin(): ContentWriter {
    if (this.#isOpen) throw new Error("a writer is open already");
    this.#isOpen = true;
    const chunks: Uint8Array[] = [];
    const close = () => {
      if (!this.#isOpen) throw new Error("the writer has ended already");
      this.#isOpen = false;
    };
    return {
      write: (chunk) => {
        chunks.push(chunk.slice());
        return Promise.resolve();
      },
      end: (): Promise<StoredContent> => {
        close();
        const sizeBytes = chunks.reduce((sum, chunk) => sum + chunk.length, 0);
        return Promise.resolve({ sizeBytes, token: chunks });
      },
      abort: () => {
        close();
        this.aborted++;
        return Promise.resolve();
      },
    };
  }
}

/** The text of a file in a tree whose contents lie in a MemorySink. */
export function textAt(root: DirectoryInode, path: string): string {
  const inode = lookup(root, byteStringOfText(path));
  if (inode?.kind !== "file") throw new Error(`${path} is ${inode?.kind ?? "absent"}, not a file`);
  return (inode.content.token as Uint8Array[]).map((chunk) => new TextDecoder().decode(chunk)).join("");
}
