import { z } from "zod";
import { BangerError } from "../base/errors.ts";
import type { Host } from "../base/host.ts";
import { type ImageName, parseImageName, quote } from "../base/names.ts";
import entries from "./catalog.json" with { type: "json" };
import { debianBookworm } from "./recipes/debian_bookworm.ts";
import type { RootSource } from "./root_source.ts";

const RECIPES = { "debian-bookworm": debianBookworm } as const;

const sourceSchema = z.discriminatedUnion("kind", [
  z.object({
    kind: z.literal("recipe"),
    recipe: z.enum(Object.keys(RECIPES) as [keyof typeof RECIPES]),
  }).strict(),
  /** In full, so that no defaulting rule decides where it comes from. */
  z.object({ kind: z.literal("oci"), reference: z.string() }).strict(),
]);
/** One way to come by an image. */
export type CatalogSource = z.infer<typeof sourceSchema>;

const catalogSchema = z.array(
  z.object({ name: z.string(), summary: z.string(), sources: z.array(sourceSchema).min(1) }).strict(),
).min(1);

export interface CatalogEntry {
  readonly name: ImageName;
  /** One line for `image list --available`. */
  readonly summary: string;
  /** Tried in order, until one can be had on this host. */
  readonly sources: readonly CatalogSource[];
}

/** What `image pull NAME` knows without being told where to look; the first is the default image. */
export const CATALOG: readonly CatalogEntry[] = catalogSchema.parse(entries)
  .map(({ name, ...rest }) => ({ name: parseImageName(name), ...rest }));

/** @throws {BangerError} `not_found` with what there is */
export function getCatalogEntry(name: string, catalog: readonly CatalogEntry[] = CATALOG): CatalogEntry {
  const entry = catalog.find((candidate) => candidate.name === name);
  if (entry) return entry;
  throw new BangerError(
    "not_found",
    `Cannot pull image ${quote(name)}: the catalog has no image of that name`,
    `Use one of ${
      catalog.map((known) => known.name).join(", ")
    }; or a reference with its tag, such as ${name}:latest`,
  );
}

/** For people: `recipe:debian-bookworm`, or the reference. */
export function formatSource(source: CatalogSource): string {
  return source.kind === "recipe" ? `recipe:${source.recipe}` : source.reference;
}

/** The root filesystem that a recipe makes. */
export function openRecipe(
  source: Extract<CatalogSource, { kind: "recipe" }>,
  host: Pick<Host, "processes" | "files">,
): RootSource {
  return RECIPES[source.recipe](host);
}
