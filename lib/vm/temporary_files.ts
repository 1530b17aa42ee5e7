import { BangerError } from "../base/errors.ts";
import type { Host } from "../base/host.ts";
import { isTemporaryName } from "../base/temporary_names.ts";
import { type Paths, sshPaths } from "../store/paths.ts";

/**
 * Removes what writes left that were cut off, wherever the daemon writes. Call while nothing else does.
 *
 * The command line writes to `bin/` itself, maybe just now: that is its own to clean.
 */
export async function removeTemporaryFiles(host: Pick<Host, "files" | "log">, paths: Paths): Promise<void> {
  const { stateDirectory, contentDirectory, sshDirectory } = paths;
  const { knownHostsDirectory } = sshPaths(paths);
  const places: string[] = [stateDirectory, sshDirectory, knownHostsDirectory, contentDirectory];
  const below = [
    paths.vmsDirectory,
    paths.imagesDirectory,
    paths.kernelsDirectory,
    `${contentDirectory}/blobs`,
  ];
  for (const parent of below) {
    // Staging directories and locks: others clean those.
    const names = (await listIfDirectory(host, parent)).filter((name) => !name.startsWith("."));
    places.push(...names.map((name) => `${parent}/${name}`));
  }
  for (const place of places) {
    for (const name of (await listIfDirectory(host, place)).filter(isTemporaryName)) {
      const path = `${place}/${name}`;
      if ((await host.files.stat(path))?.kind !== "file") continue;
      await host.files.remove(path);
      host.log("info", "removed what a cut-off write left", { path });
    }
  }
}

async function listIfDirectory({ files }: Pick<Host, "files">, path: string): Promise<string[]> {
  try {
    return await files.list(path);
  } catch (thrown) {
    // A file among directories: not what is looked for.
    if (thrown instanceof BangerError && thrown.code === "not_found") return [];
    throw thrown;
  }
}
