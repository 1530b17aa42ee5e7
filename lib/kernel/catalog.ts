import { BangerError } from "../base/errors.ts";
import type { AptFetcher, AptPackage } from "./apt.ts";

/** A kernel that can be fetched by name. */
export interface CatalogEntry {
  readonly distribution: string;
  /** A package that depends on exactly the newest kernel package. */
  readonly metaPackage: string;
}

/** By the name that `banger kernel pull` takes. */
export const CATALOG: ReadonlyMap<string, CatalogEntry> = new Map([
  ["debian", { distribution: "debian", metaPackage: "linux-image-cloud-amd64" }],
]);

/** The newest packages that a kernel is made of. */
export interface CatalogPackages {
  readonly kernel: AptPackage;
  readonly busybox: AptPackage;
}

/** @throws {BangerError} as `AptFetcher.find`; `source_unavailable` where the archive is inconsistent */
export async function resolveCatalogEntry(
  apt: AptFetcher,
  entry: CatalogEntry,
  signal: AbortSignal,
): Promise<CatalogPackages> {
  const meta = await apt.find(entry.metaPackage, signal);
  const dependency = /(?:^|, )(linux-image-[a-z0-9.+-]+) \(= ([^)]+)\)/.exec(meta.depends);
  const kernel = dependency && await apt.find(dependency[1]!, signal);
  if (!kernel || kernel.version !== dependency[2]) {
    throw new BangerError(
      "source_unavailable",
      `Cannot find the kernel that ${entry.metaPackage} ${meta.version} stands for: the archive has no such package`,
      "The mirror may be in the middle of an update: try again in an hour",
    );
  }
  return { kernel, busybox: await apt.find("busybox-static", signal) };
}
