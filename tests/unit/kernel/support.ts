import assert from "node:assert/strict";
import { concatBytes } from "../../../lib/base/bytes.ts";
import { BangerError, type ErrorCode } from "../../../lib/base/errors.ts";
import type { Progress } from "../../../lib/base/host.ts";
import type { ContentSink, DirectoryInode, StoredContent } from "../../../lib/base/tree.ts";
import type { DiskBuilder } from "../../../lib/kernel/disk_builder.ts";
import type { KernelStorePorts } from "../../../lib/kernel/store.ts";
import { unzstd } from "../../../lib/oci/compression/zstd/frames.ts";
import { libc } from "../../../lib/sys/libc.ts";

// Before the first test: a library that one test loads and all use is no leak of that test.
libc();

/** A network that nobody may use, and the decoder that the daemon has too. */
export function ports(buildDisk: DiskBuilder, change: Partial<KernelStorePorts> = {}): KernelStorePorts {
  const http = { send: () => Promise.reject(new Error("no network in this test")) };
  return { buildDisk, unzstd, http, ...change };
}

export const NEVER = new AbortController().signal;

/** Runs `body` in a directory that is gone afterwards. */
export async function inTemporaryDirectory(body: (directory: string) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "banger-kernel-" });
  try {
    await body(directory);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

export function isBanger(code: ErrorCode, message?: RegExp) {
  return (thrown: unknown) => {
    assert.ok(thrown instanceof BangerError, String(thrown));
    assert.equal(thrown.code, code, thrown.message);
    if (message) assert.match(thrown.message, message);
    return true;
  };
}

export async function* chunksOf(bytes: Uint8Array, chunkBytes = 777): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += chunkBytes) {
    yield await Promise.resolve(bytes.slice(at, at + chunkBytes));
  }
}

export class RecordedProgress implements Progress {
  readonly stages: string[] = [];
  stage(name: string): void {
    this.stages.push(name);
  }
  update(): void {}
  note(): void {}
}

/** Keeps contents in memory: a token is the content. */
class MemorySink implements ContentSink {
  begin() {
    const chunks: Uint8Array[] = [];
    return {
      write: (chunk: Uint8Array) => {
        chunks.push(chunk.slice());
        return Promise.resolve();
      },
      end: (): Promise<StoredContent> => {
        const token = concatBytes(chunks);
        return Promise.resolve({ sizeBytes: token.length, token });
      },
      abort: () => Promise.resolve(),
    };
  }
}

/** Writes a file that only says so, and keeps the tree. */
export function recordingDiskBuilder(): DiskBuilder & { trees: DirectoryInode[] } {
  const trees: DirectoryInode[] = [];
  const build: DiskBuilder = async (path, _options, fill) => {
    trees.push(await fill(new MemorySink()));
    await Deno.writeTextFile(path, "a modules disk");
  };
  return Object.assign(build, { trees });
}
