/** Images of a few files around a static busybox, made without any tool but tar. */
import assert from "node:assert/strict";

/** Of a tree, by path without a leading slash: a file's content, a symlink's target, or a copy of a file. */
export type Tree = Readonly<Record<string, string | { link: string } | { copy: string } | "busybox">>;

export const BUSYBOX = "busybox";

/** Names of busybox's programs in `/bin`. */
export function applets(...names: string[]): Tree {
  return Object.fromEntries(names.map((name) => [`bin/${name}`, { link: "busybox" }]));
}

/** @returns the tar's path */
export async function makeTar(directory: string, name: string, tree: Tree): Promise<string> {
  const root = `${directory}/${name}.tree`;
  for (const [path, content] of Object.entries(tree)) {
    const target = `${root}/${path}`;
    await Deno.mkdir(target.slice(0, target.lastIndexOf("/")), { recursive: true });
    if (typeof content !== "string" && "link" in content) {
      await Deno.symlink(content.link, target);
      continue;
    }
    if (typeof content !== "string") await Deno.copyFile(content.copy, target);
    else if (content === BUSYBOX) await Deno.copyFile(await findBusybox(), target);
    else await Deno.writeTextFile(target, content);
    await Deno.chmod(target, 0o755);
  }
  const tar = `${directory}/${name}.tar`;
  const args = ["--owner=0", "--group=0", "--numeric-owner", "-C", root, "-cf", tar, "."];
  const { code, stderr } = await new Deno.Command("tar", { args }).output();
  assert.equal(code, 0, new TextDecoder().decode(stderr));
  return tar;
}

async function findBusybox(): Promise<string> {
  for (const path of ["/bin/busybox", "/usr/bin/busybox"]) {
    if (await Deno.stat(path).then(({ isFile }) => isFile, () => false)) return path;
  }
  throw new Error("this host has no busybox: install busybox-static");
}
