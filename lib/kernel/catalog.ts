import { z } from "zod";
import { type Architecture, ARCHITECTURES } from "../base/architecture.ts";
import { BangerError } from "../base/errors.ts";
import { parseKernelName } from "../base/names.ts";
import type { AptFetcher, AptPackage } from "./apt.ts";
import entries from "./catalog.json" with { type: "json" };

const httpUrl = z.string().refine(
  (text) => /^https?:\/\//.test(text) && URL.canParse(text),
  "is no http URL",
);

/** A Debian package that depends on exactly the newest kernel package. */
const packageSource = z.object({ package: z.string().regex(/^linux-image-[a-z0-9.+-]+$/) }).strict();
/** What `deno task publish-kernel` made: a store entry as tar, compressed by zstd. */
const bundleSource = z.object({
  url: httpUrl,
  /** Of the file, hexadecimal. */
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
  sizeBytes: z.number().int().positive().max(2 ** 31),
}).strict();

const entrySchema = z.object({
  name: z.string().transform((name) => parseKernelName(name)),
  distribution: z.string().min(1).max(64),
  architecture: z.enum(Object.keys(ARCHITECTURES) as [Architecture, ...Architecture[]]),
  /** As `uname -r`; absent where the newest is fetched. */
  version: z.string().min(1).max(64).optional(),
  description: z.string().min(1).max(200),
  source: z.union([packageSource, bundleSource]),
}).strict();

/** A kernel that can be fetched by name. */
export type CatalogEntry = z.infer<typeof entrySchema>;
export type PackageSource = z.infer<typeof packageSource>;
export type BundleSource = z.infer<typeof bundleSource>;

/**
 * Reads a catalog, as it is compiled in and as `deno task publish-kernel` writes it: sorted by name and
 * architecture, each pair once, no unknown keys.
 *
 * @throws {BangerError} `corrupt_data`
 */
export function parseCatalog(value: unknown): readonly CatalogEntry[] {
  const result = z.array(entrySchema).safeParse(value);
  if (!result.success) {
    const issue = result.error.issues[0];
    throw new BangerError(
      "corrupt_data",
      `Cannot use the catalog of kernels: ${issue?.path.join(".")}: ${issue?.message}`,
    );
  }
  const keys = result.data.map(catalogKey);
  if (keys.some((key, at) => at > 0 && keys[at - 1]! >= key)) {
    throw new BangerError(
      "corrupt_data",
      "Cannot use the catalog of kernels: its names are not in order, or one is there twice",
    );
  }
  return result.data;
}

/** What a catalog is sorted by. */
export function catalogKey({ name, architecture }: Pick<CatalogEntry, "name" | "architecture">): string {
  return `${name} ${architecture}`;
}

/** Compiled in. */
export const CATALOG: readonly CatalogEntry[] = parseCatalog(entries);

/** The newest packages that a kernel is made of. */
export interface CatalogPackages {
  readonly kernel: AptPackage;
  readonly busybox: AptPackage;
}

/** @throws {BangerError} as `AptFetcher.find`; `source_unavailable` where the archive is inconsistent */
export async function resolvePackages(
  apt: AptFetcher,
  source: PackageSource,
  signal: AbortSignal,
): Promise<CatalogPackages> {
  const meta = await apt.find(source.package, signal);
  const dependency = /(?:^|, )(linux-image-[a-z0-9.+-]+) \(= ([^)]+)\)/.exec(meta.depends);
  const kernel = dependency && await apt.find(dependency[1]!, signal);
  if (!kernel || kernel.version !== dependency[2]) {
    throw new BangerError(
      "source_unavailable",
      `Cannot find the kernel that ${source.package} ${meta.version} stands for: the archive has no such package`,
      "The mirror may be in the middle of an update: try again in an hour",
    );
  }
  return { kernel, busybox: await apt.find("busybox-static", signal) };
}
