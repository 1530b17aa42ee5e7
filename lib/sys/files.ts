import { statfs } from "node:fs";
import { dirname } from "node:path";
import { promisify } from "node:util";
import { BangerError } from "../base/errors.ts";
import type { Clock, Files, FileStat } from "../base/host.ts";
import { temporaryName } from "../base/temporary_names.ts";
import { copySparse, reflink } from "./copy.ts";
import { lock, tryLock } from "./file_locks.ts";
import { isKernelPath, openKernelFile, readKernelFile } from "./kernel_files.ts";
import { osError, systemCode } from "./os_errors.ts";
import { openRandomAccessFile } from "./random_access_file.ts";

const STREAM_CHUNK_BYTES = 1024 * 1024;

/** The host's filesystem. */
export function systemFiles(clock: Clock): Files {
  return {
    readBytes,
    readText: async (path, maxBytes) => new TextDecoder().decode(await readBytes(path, maxBytes)),
    readStream,
    writeAtomic,
    replace: (path, content, mode) => replace(path, content, mode),
    sync: (path) => attempt(`sync ${path}`, () => sync(path)),
    makeDirectory: (path, mode) => attempt(`make directory ${path}`, () => makeDirectory(path, mode)),
    remove: (path) => attempt(`remove ${path}`, () => remove(path)),
    setMode: (path, mode) => attempt(`change the mode of ${path}`, () => Deno.chmod(path, mode)),
    rename: (from, to) => attempt(`rename ${from} to ${to}`, () => Deno.rename(from, to)),
    stat,
    realPath,
    list,
    open: async (path, options) =>
      isKernelPath(path)
        ? await attempt(`open ${path}`, () => Promise.resolve().then(() => openKernelFile(path, options)))
        : await openRandomAccessFile(path, options),
    reflink,
    copySparse,
    freeBytes: (path) => attempt(`look at the free space of ${path}`, () => freeBytes(path)),
    lock: (path) => lock(clock, path),
    tryLock: (path) => Promise.resolve().then(() => tryLock(path)),
  };
}

async function attempt<T>(action: string, act: () => Promise<T>): Promise<T> {
  try {
    return await act();
  } catch (thrown) {
    throw osError(action, thrown);
  }
}

async function readBytes(path: string, maxBytes: number): Promise<Uint8Array<ArrayBuffer>> {
  return await attempt(`read ${path}`, async () => {
    if (isKernelPath(path)) return readKernelFile(path, maxBytes);
    using file = await Deno.open(path);
    const { size } = await file.stat();
    let buffer = new Uint8Array(Math.min(size + 1, maxBytes + 1));
    let filled = 0;
    for (;;) {
      if (filled > maxBytes) {
        throw new BangerError("corrupt_data", `Cannot read ${path}: it is larger than ${maxBytes} bytes`);
      }
      if (filled === buffer.length) {
        const larger = new Uint8Array(Math.min(buffer.length * 2, maxBytes + 1));
        larger.set(buffer);
        buffer = larger;
      }
      const count = await file.read(buffer.subarray(filled));
      if (count === null) return buffer.subarray(0, filled);
      filled += count;
    }
  });
}

function readStream(
  path: string,
  range?: { offsetBytes: number; sizeBytes: number },
): ReadableStream<Uint8Array<ArrayBuffer>> {
  let file: Deno.FsFile | undefined;
  let remaining = range?.sizeBytes ?? Infinity;
  const close = () => {
    file?.close();
    file = undefined;
  };
  return new ReadableStream<Uint8Array<ArrayBuffer>>({
    async start() {
      await attempt(`read ${path}`, async () => {
        file = await Deno.open(path);
        if (range) await file.seek(range.offsetBytes, Deno.SeekMode.Start);
      });
    },
    async pull(controller) {
      const buffer = new Uint8Array(Math.min(STREAM_CHUNK_BYTES, remaining));
      const count = buffer.length === 0 ? null : await attempt(`read ${path}`, () => file!.read(buffer));
      if (count === null) {
        close();
        controller.close();
      } else {
        remaining -= count;
        controller.enqueue(buffer.subarray(0, count));
      }
    },
    cancel: close,
  }, { highWaterMark: 1 });
}

async function writeAtomic(path: string, content: Uint8Array | string, mode?: number): Promise<void> {
  await replace(path, content, mode, (file) => file.sync());
  await attempt(`write ${path}`, () => sync(dirname(path)));
}

async function replace(
  path: string,
  content: Uint8Array | string,
  mode?: number,
  settle?: (file: Deno.FsFile) => Promise<void>,
): Promise<void> {
  const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
  const temporary = temporaryName(path, crypto.randomUUID().slice(0, 8));
  await attempt(`write ${path}`, async () => {
    try {
      using file = await Deno.open(temporary, { write: true, createNew: true, mode: mode ?? 0o600 });
      for (let written = 0; written < bytes.length;) written += await file.write(bytes.subarray(written));
      await settle?.(file);
      await Deno.rename(temporary, path);
    } catch (thrown) {
      await remove(temporary);
      throw thrown;
    }
  });
}

async function sync(path: string): Promise<void> {
  using opened = await Deno.open(path);
  await opened.sync();
}

async function makeDirectory(path: string, mode = 0o755): Promise<void> {
  await Deno.mkdir(path, { recursive: true, mode });
}

async function remove(path: string): Promise<void> {
  try {
    await Deno.remove(path, { recursive: true });
  } catch (thrown) {
    if (systemCode(thrown) !== "ENOENT") throw thrown;
  }
}

async function stat(path: string): Promise<FileStat | undefined> {
  try {
    const info = await Deno.lstat(path);
    return {
      kind: info.isFile ? "file" : info.isDirectory ? "directory" : info.isSymlink ? "symlink" : "other",
      sizeBytes: info.size,
      allocatedBytes: (info.blocks ?? 0) * 512,
      mode: (info.mode ?? 0) & 0o7777,
      uid: info.uid ?? 0,
      mtimeMs: info.mtime?.getTime() ?? 0,
    };
  } catch (thrown) {
    const code = systemCode(thrown);
    if (code === "ENOENT" || code === "ENOTDIR") return undefined;
    throw osError(`look at ${path}`, thrown);
  }
}

async function realPath(path: string): Promise<string | undefined> {
  try {
    return await Deno.realPath(path);
  } catch (thrown) {
    const code = systemCode(thrown);
    if (code === "ENOENT" || code === "ENOTDIR") return undefined;
    throw osError(`follow ${path}`, thrown);
  }
}

async function list(path: string): Promise<string[]> {
  const names: string[] = [];
  try {
    for await (const entry of Deno.readDir(path)) names.push(entry.name);
  } catch (thrown) {
    if (systemCode(thrown) === "ENOENT") return [];
    throw osError(`list ${path}`, thrown);
  }
  return names.sort();
}

async function freeBytes(path: string): Promise<number> {
  const info = await promisify(statfs)(path);
  return info.bavail * info.bsize;
}
