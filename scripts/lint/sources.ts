import type { Source } from "./exports.ts";

/** What git knows and what it would take: the checkout without what is ignored. */
export async function trackedFiles(root: string, ...patterns: string[]): Promise<string[]> {
  const args = ["ls-files", "--cached", "--others", "--exclude-standard", ...patterns];
  const { stdout } = await new Deno.Command("git", { args, cwd: root }).output();
  return [...new Set(new TextDecoder().decode(stdout).split("\n").filter(Boolean))];
}

/** Files that were removed and not yet committed are left out. */
export async function readSources(root: string): Promise<Source[]> {
  const paths = await trackedFiles(root, "*.ts");
  const sources = await Promise.all(paths.map(async (path) => {
    const text = await Deno.readTextFile(`${root}${path}`).catch(() => undefined);
    return text === undefined ? [] : [{ path, text }];
  }));
  return sources.flat();
}
