import assert from "node:assert/strict";
import type { RandomAccessFile } from "../../../lib/base/host.ts";
import type { DirectoryInode } from "../../../lib/base/tree.ts";
import { type FilesystemOptions, type FilesystemSummary, FilesystemWriter } from "../../../lib/ext4/mod.ts";
import { realHost } from "../../../lib/sys/host.ts";
import { writeFilesystem } from "../../unit/ext4/support.ts";

export const host = realHost();

/** A directory that is gone when the test is over. */
export async function scratchDirectory(): Promise<{ path: string } & AsyncDisposable> {
  const path = await Deno.makeTempDir({ prefix: "banger-ext4-" });
  return { path, [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }) };
}

export function openDisk(path: string): Promise<RandomAccessFile> {
  return host.files.open(path, { read: true, write: true });
}

/** Writes a filesystem into a new file. */
export async function writeDisk(
  path: string,
  fill: (root: DirectoryInode, sink: FilesystemWriter) => Promise<void> | void = () => {},
  options: Partial<FilesystemOptions> = {},
): Promise<FilesystemSummary> {
  await using file = await host.files.open(path, { read: true, write: true, createNew: true });
  return await writeFilesystem(file, fill, options);
}

/** Runs a tool to its end. @returns stdout and stderr of a success */
export async function run(program: string, ...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await host.processes.run({ program, args }, {
    maxOutputBytes: 64 * 2 ** 20,
  });
  assert.equal(code, 0, `${program} ${args.join(" ")} ended with ${code}:\n${stdout}\n${stderr}`);
  return stdout + stderr;
}

/** One of debugfs's requests. */
export async function debugfs(disk: string, request: string): Promise<string> {
  const { stdout } = await host.processes.run(
    { program: "debugfs", args: ["-R", request, disk] },
    { maxOutputBytes: 64 * 2 ** 20 },
  );
  return stdout;
}

const CALM_LINE = /^(e2fsck [\d.]+ .*|Pass [1-5]: .*|.*: \d+\/\d+ files \(.*\), \d+\/\d+ blocks)?$/;

/** e2fsck must find nothing at all to say. */
export async function assertClean(disk: string): Promise<void> {
  const output = await run("e2fsck", "-fn", disk);
  const complaints = output.split("\n").filter((line) => !CALM_LINE.test(line));
  assert.deepEqual(complaints, [], output);
}
