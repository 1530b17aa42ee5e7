import { BangerError } from "../base/errors.ts";
import type { Host } from "../base/host.ts";
import { type ImageName, parseImageName, quote } from "../base/names.ts";
import { debianBookworm } from "./recipes/debian_bookworm.ts";
import type { RootSource } from "./root_source.ts";

/** One way to come by an image. */
export interface CatalogSource {
  readonly kind: "recipe";
  readonly recipe: keyof typeof RECIPES;
}

export interface CatalogEntry {
  readonly name: ImageName;
  /** One line for `image list`. */
  readonly summary: string;
  /** Tried in order, until one can be had. */
  readonly sources: readonly CatalogSource[];
}

const RECIPES = { "debian-bookworm": debianBookworm } as const;

/** What `image pull NAME` knows without being told where to look; the first is the default image. */
export const CATALOG: readonly CatalogEntry[] = [
  {
    name: parseImageName("debian-bookworm"),
    summary: "Debian 12 with systemd, ssh, git and common tools",
    sources: [{ kind: "recipe", recipe: "debian-bookworm" }],
  },
];

export const DEFAULT_IMAGE: ImageName = CATALOG[0]!.name;

/** @throws {BangerError} `not_found` with what there is */
export function getCatalogEntry(name: string, catalog: readonly CatalogEntry[] = CATALOG): CatalogEntry {
  const entry = catalog.find((candidate) => candidate.name === name);
  if (entry) return entry;
  throw new BangerError(
    "not_found",
    `Cannot pull image ${quote(name)}: the catalog has no image of that name`,
    `Use one of: ${catalog.map((known) => known.name).join(", ")}`,
  );
}

export function openSource(source: CatalogSource, host: Pick<Host, "processes" | "files">): RootSource {
  return RECIPES[source.recipe](host);
}
