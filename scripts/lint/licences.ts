/** Licences of what goes into the executables, as each package in Deno's npm cache names its own. */

/** Permissive ones, whose only duty is to be named: the SBOM and the packages' own files do that. */
const ALLOWED: ReadonlySet<string> = new Set([
  "0BSD",
  "Apache-2.0",
  "BSD-2-Clause",
  "BSD-3-Clause",
  "BlueOak-1.0.0",
  "CC0-1.0",
  "ISC",
  "MIT",
  "Unlicense",
]);

/** `@scope/name@1.2.3_peer@4` of a lock file. */
function packageOf(key: string): { name: string; version: string } {
  const at = key.indexOf("@", 1);
  return { name: key.slice(0, at), version: key.slice(at + 1).split("_")[0]! };
}

/** Packages write `MIT`, `(MIT OR Apache-2.0)`, or, long ago, `{type: "MIT"}`. */
/** Exported for tests. */
export function isAllowedLicence(licence: unknown): boolean {
  const text = typeof licence === "object" && licence !== null && "type" in licence ? licence.type : licence;
  if (typeof text !== "string") return false;
  const choices = text.replaceAll(/[()]/g, "").split(/\s+OR\s+/);
  return choices.some((choice) => choice.split(/\s+AND\s+/).every((name) => ALLOWED.has(name.trim())));
}

/** @param npmCache what `deno info` calls so. @returns a line for each package that may not be used */
export async function refusedLicences(lockText: string, npmCache: string): Promise<string[]> {
  const { npm = {} } = JSON.parse(lockText) as { npm?: Record<string, unknown> };
  const registries = (await Array.fromAsync(Deno.readDir(npmCache))).filter(({ isDirectory }) => isDirectory);
  const refused: string[] = [];
  for (const key of Object.keys(npm)) {
    const { name, version } = packageOf(key);
    const texts = await Promise.all(
      registries.map((registry) =>
        Deno.readTextFile(`${npmCache}/${registry.name}/${name}/${version}/package.json`)
          .catch(() => undefined)
      ),
    );
    const text = texts.find((found) => found !== undefined);
    if (text === undefined) {
      refused.push(`${name}@${version}: not in Deno's cache; run deno install`);
      continue;
    }
    const { license } = JSON.parse(text) as { license?: unknown };
    if (!isAllowedLicence(license)) refused.push(`${name}@${version}: ${JSON.stringify(license) ?? "none"}`);
  }
  return refused;
}
