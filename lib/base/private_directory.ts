import { BangerError } from "./errors.ts";
import type { Files } from "./host.ts";

/**
 * Sockets here give full control over all VMs: nobody else may reach them.
 *
 * @throws {BangerError} `permission_denied`
 */
export async function preparePrivateDirectory(
  files: Pick<Files, "makeDirectory" | "stat">,
  path: string,
  uid: number,
): Promise<void> {
  await files.makeDirectory(path, 0o700);
  const stat = await files.stat(path);
  if (stat?.kind === "directory" && stat.uid === uid && (stat.mode & 0o077) === 0) return;
  throw new BangerError(
    "permission_denied",
    `Cannot use ${path} for sockets: it is not a directory that only you can enter`,
    "Remove it, or set XDG_RUNTIME_DIR to a private directory",
  );
}
