import type { Host } from "../base/host.ts";
import { isTemporaryName } from "../base/temporary_names.ts";
import type { Paths } from "../store/paths.ts";

/** Depth of what is looked through below the state directory: `vms/ID/FILE`. */
const DEPTH = 2;

/**
 * Removes what writes left that were cut off, wherever the daemon writes. Call while nothing else does.
 *
 * The command line writes to `bin/` itself, maybe just now: that is its own to clean.
 */
export async function removeTemporaryFiles(host: Pick<Host, "files" | "log">, paths: Paths): Promise<void> {
  const remove = async (directory: string, depth: number): Promise<void> => {
    for (const name of await host.files.list(directory)) {
      const path = `${directory}/${name}`;
      if (path === paths.binDirectory) continue;
      const stat = await host.files.stat(path);
      if (stat?.kind === "directory" && depth > 0) await remove(path, depth - 1);
      if (stat?.kind !== "file" || !isTemporaryName(name)) continue;
      await host.files.remove(path);
      host.log("info", "removed what a cut-off write left", { path });
    }
  };
  await remove(paths.stateDirectory, DEPTH);
  await remove(paths.contentDirectory, DEPTH);
}
