import type { Files } from "../base/host.ts";
import { BangerError } from "../base/errors.ts";

/** The executables that `banger` carries. */
export type Companion = "bangerd" | "banger-vsock-agent";

const ELF64_HEADER_BYTES = 64;

/**
 * Where the runtime ends and a program's own tail begins: the end of the section header table, which
 * is the last thing in the runtime's file. What follows was appended by `deno compile`.
 *
 * @param header the first 64 bytes of the executable
 * @throws {BangerError} `corrupt_data`
 * Source: System V ABI, "ELF Header": e_shoff at 40, e_shentsize at 58, e_shnum at 60
 */
export function runtimeSizeBytes(header: Uint8Array): number {
  const view = new DataView(header.buffer, header.byteOffset, header.byteLength);
  if (header.length < ELF64_HEADER_BYTES || view.getUint32(0) !== 0x7f454c46 || view.getUint8(4) !== 2) {
    throw new BangerError("corrupt_data", "Cannot read this executable: it is no 64-bit ELF file");
  }
  return Number(view.getBigUint64(40, true)) + view.getUint16(58, true) * view.getUint16(60, true);
}

/**
 * Writes a companion out where it is not there yet: this executable's runtime, then the companion's tail.
 *
 * @param executablePath this executable, which begins with the same runtime
 * @param tailPath the companion's tail, inside this executable's own files
 * @param targetPath published by rename, so that two at once do no harm
 */
export async function materializeCompanion(
  files: Pick<Files, "stat" | "open" | "readStream" | "rename" | "remove">,
  executablePath: string,
  tailPath: string,
  targetPath: string,
): Promise<void> {
  if (await files.stat(targetPath)) return;
  const header = new Uint8Array(ELF64_HEADER_BYTES);
  {
    await using executable = await files.open(executablePath, { read: true });
    await executable.readAt(header, 0);
  }
  const runtime = files.readStream(executablePath, { offsetBytes: 0, sizeBytes: runtimeSizeBytes(header) });
  const staging = `${targetPath}.${crypto.randomUUID().slice(0, 8)}.tmp`;
  try {
    {
      await using target = await files.open(staging, { write: true, createNew: true, mode: 0o755 });
      let writtenBytes = 0;
      for (const part of [runtime, files.readStream(tailPath)]) {
        for await (const chunk of part) {
          await target.writeAt(chunk, writtenBytes);
          writtenBytes += chunk.length;
        }
      }
    }
    await files.rename(staging, targetPath);
  } catch (thrown) {
    await files.remove(staging);
    throw thrown;
  }
}

/** Companions of builds that are no longer started. A daemon or relay that still runs keeps its file open. */
export async function removeOtherBuilds(
  files: Pick<Files, "list" | "remove">,
  binDirectory: string,
  ownBuildId: string,
): Promise<void> {
  for (const name of await files.list(binDirectory)) {
    if (name !== ownBuildId) await files.remove(`${binDirectory}/${name}`);
  }
}
