import assert from "node:assert/strict";
import type { DiskBuilder } from "../../../lib/kernel/disk_builder.ts";
import {
  bytesOf,
  type ContentSink,
  type DirectoryInode,
  type StoredContent,
} from "../../../lib/base/tree.ts";
import { walkTree } from "../../../lib/base/tree_paths.ts";

/** A disk builder made of other people's tools, so that these tests do not depend on our own writer. */
export const mke2fsDiskBuilder: DiskBuilder = async (path, { label }, fill) => {
  const work = await Deno.makeTempDir({ prefix: "banger-mke2fs-" });
  try {
    const sink = new DirectorySink(work);
    const root = await fill(sink);
    await writeTree(root, `${work}/root`);
    const { code, stderr } = await new Deno.Command("/usr/sbin/mke2fs", {
      args: ["-q", "-t", "ext4", "-L", label.slice(0, 16), "-d", `${work}/root`, path, "1G"],
      stderr: "piped",
    }).output();
    assert.equal(code, 0, new TextDecoder().decode(stderr));
  } finally {
    await Deno.remove(work, { recursive: true });
  }
};

class DirectorySink implements ContentSink {
  readonly #directory: string;
  #count = 0;

  constructor(directory: string) {
    this.#directory = directory;
  }

  begin() {
    const path = `${this.#directory}/${this.#count++}`;
    const file = Deno.openSync(path, { write: true, createNew: true });
    let sizeBytes = 0;
    return {
      write: (chunk: Uint8Array) => {
        for (let at = 0; at < chunk.length;) at += file.writeSync(chunk.subarray(at));
        sizeBytes += chunk.length;
        return Promise.resolve();
      },
      end: (): Promise<StoredContent> => {
        file.close();
        return Promise.resolve({ sizeBytes, token: path });
      },
      abort: () => {
        file.close();
        return Promise.resolve();
      },
    };
  }
}

async function writeTree(root: DirectoryInode, directory: string): Promise<void> {
  for (const { path, inode } of walkTree(root)) {
    const target = `${directory}${new TextDecoder().decode(bytesOf(path))}`;
    if (inode.kind === "directory") await Deno.mkdir(target, { recursive: true });
    else if (inode.kind === "file") await Deno.rename(String(inode.content.token), target);
    else assert.fail(`unexpected ${inode.kind}`);
  }
}
