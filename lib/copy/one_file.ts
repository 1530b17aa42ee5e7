/** A single regular file, without an archive on its way into the guest or out of it. */
import { BangerError } from "../base/errors.ts";
import type { Files } from "../base/host.ts";
import { quote } from "../base/names.ts";
import { byteStringOfText } from "../base/tree.ts";
import { tarEnd, tarHeader, tarPadding } from "../workspace/tar_stream.ts";
import type { CopyOptions } from "./copy.ts";
import type { GuestPlace, OpenFile } from "./guest_side.ts";
import { splitPath } from "./places.ts";

/** @returns false, with nothing done, where it must go as an archive */
export async function sendOneFile(
  { files }: { readonly files: Pick<Files, "stat" | "readStream"> },
  path: string,
  to: GuestPlace,
  { keepsOwners, onProgress, signal }: CopyOptions,
): Promise<boolean> {
  const { name, isContents } = splitPath(path);
  if (!to.files || keepsOwners || isContents || path.endsWith("/")) return false;
  const stat = await files.stat(path);
  if (stat?.kind !== "file") return false;
  const { sizeBytes, mtimeMs } = stat;
  const mtimeSeconds = Math.floor(mtimeMs / 1000);
  async function* content(): AsyncGenerator<Uint8Array> {
    let passed = 0;
    if (sizeBytes === 0) return;
    for await (const bytes of files.readStream(path, { offsetBytes: 0, sizeBytes })) {
      signal.throwIfAborted();
      yield bytes;
      onProgress(passed += bytes.length);
    }
    if (passed < sizeBytes) throw becameShorter(path);
  }
  const mode = stat.mode & 0o7777;
  return await to.files.send({ path: to.path, name, mode, mtimeSeconds, sizeBytes }, content);
}

function becameShorter(path: string): BangerError {
  return new BangerError(
    "wrong_state",
    `Cannot read all of ${quote(path)}: it became shorter meanwhile`,
    "Nothing of it was kept; copy once more",
  );
}

/** @returns undefined where it must come as an archive */
export async function openOneFile(
  { path, files }: GuestPlace,
  { keepsOwners }: CopyOptions,
): Promise<OpenFile | undefined> {
  if (!files || keepsOwners || splitPath(path).isContents || path.endsWith("/")) return undefined;
  return await files.open(path);
}

/** As the guest's own tar would: whoever takes it must not know the difference. */
export async function writeAsTar(
  file: OpenFile,
  name: string,
  sink: (bytes: Uint8Array) => Promise<void>,
): Promise<void> {
  const { sizeBytes, mode, mtimeSeconds } = file;
  await sink(tarHeader({ kind: "file", name: byteStringOfText(name), mode, mtimeSeconds, sizeBytes }));
  for await (const bytes of file.read()) await sink(bytes);
  await sink(tarPadding(sizeBytes));
  await sink(tarEnd());
}
