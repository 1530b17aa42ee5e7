/** One feature of a guest's kernel, as a check in the guest tells it. */
export interface Feature {
  readonly verdict: "ok" | "MISSING";
  readonly name: string;
  /** For people: what was seen, or what went wrong. */
  readonly seen: string;
}

/** @param look throws where the feature is missing. @returns what was seen */
export async function lookFor(name: string, look: () => Promise<string>): Promise<Feature> {
  try {
    return { verdict: "ok", name, seen: await look() };
  } catch (thrown) {
    return { verdict: "MISSING", name, seen: thrown instanceof Error ? thrown.message : String(thrown) };
  }
}

/** Lines of verdict, name and what was seen, separated by tabs; all else is passed over. */
export function parseFeatures(text: string): Feature[] {
  return text.split("\n").flatMap((line) => {
    const [verdict, name, seen] = line.replace(/\r$/, "").split("\t");
    if ((verdict !== "ok" && verdict !== "MISSING") || name === undefined) return [];
    return [{ verdict, name, seen: seen ?? "" }];
  });
}
