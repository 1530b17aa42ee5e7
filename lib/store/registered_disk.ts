import { BangerError } from "../base/errors.ts";
import type { Files, FileStat } from "../base/host.ts";
import { quote } from "../base/names.ts";
import type { ImageRecord } from "./records.ts";

/**
 * The disk of a registered image belongs to the user, who must not write to it: machines hold only what differs.
 *
 * @throws {BangerError} `wrong_state`, `not_found`
 */
export async function requireUnchanged(files: Pick<Files, "stat">, image: ImageRecord): Promise<void> {
  const { name, external, sizeBytes } = image;
  if (external === undefined) return;
  const now = await statDisk(files, external.path);
  if (now.sizeBytes === sizeBytes && now.mtimeMs === external.mtimeMs) return;
  throw new BangerError(
    "wrong_state",
    `Cannot use image ${name}: ${external.path} was changed since it was registered`,
    `Register it anew: banger image rm ${name}, then banger image register ${name} --rootfs ${external.path}`,
  );
}

/** @throws {BangerError} `not_found`, `invalid_argument` for what is no file */
export async function statDisk(files: Pick<Files, "stat">, path: string): Promise<FileStat> {
  const stat = await files.stat(path);
  if (stat?.kind === "file") return stat;
  throw new BangerError(
    stat === undefined ? "not_found" : "invalid_argument",
    `Cannot use ${quote(path)} as a root disk: ${stat === undefined ? "it does not exist" : "it is no file"}`,
    "Give the path of an ext4 file",
  );
}
