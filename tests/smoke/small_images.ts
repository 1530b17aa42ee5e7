/** Images of a few files around a static busybox, made without any tool but tar. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";

/** Of a tree, by path without a leading slash: a file's content, a symlink's target, or a copy of busybox. */
export type Tree = Readonly<Record<string, string | { link: string } | "busybox">>;

export const BUSYBOX = "busybox";

/** @returns the tar's path */
export async function makeTar(directory: string, name: string, tree: Tree): Promise<string> {
  const root = `${directory}/${name}.tree`;
  for (const [path, content] of Object.entries(tree)) {
    const target = `${root}/${path}`;
    await Deno.mkdir(target.slice(0, target.lastIndexOf("/")), { recursive: true });
    if (typeof content !== "string") await Deno.symlink(content.link, target);
    else if (content === BUSYBOX) await Deno.copyFile(await findBusybox(), target);
    else await Deno.writeTextFile(target, content);
    if (typeof content === "string") await Deno.chmod(target, 0o755);
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

/**
 * An OCI image-layout of one layer.
 *
 * @param config the image's `config` object
 * @returns the layout's directory
 */
export async function makeLayout(
  directory: string,
  name: string,
  tree: Tree,
  config: Readonly<Record<string, unknown>>,
): Promise<string> {
  const layer = await Deno.readFile(await makeTar(directory, name, tree));
  const layout = `${directory}/${name}.oci`;
  await Deno.mkdir(`${layout}/blobs/sha256`, { recursive: true });
  const put = async (mediaType: string, content: Uint8Array | object) => {
    const bytes = content instanceof Uint8Array ? content : new TextEncoder().encode(JSON.stringify(content));
    const hex = createHash("sha256").update(bytes).digest("hex");
    await Deno.writeFile(`${layout}/blobs/sha256/${hex}`, bytes);
    return {
      mediaType: `application/vnd.oci.image.${mediaType}`,
      digest: `sha256:${hex}`,
      size: bytes.length,
    };
  };
  const layerDescriptor = await put("layer.v1.tar", layer);
  const manifest = await put("manifest.v1+json", {
    schemaVersion: 2,
    mediaType: "application/vnd.oci.image.manifest.v1+json",
    config: await put("config.v1+json", {
      os: "linux",
      architecture: Deno.build.arch === "x86_64" ? "amd64" : "arm64",
      config,
      rootfs: { type: "layers", diff_ids: [layerDescriptor.digest] },
    }),
    layers: [layerDescriptor],
  });
  await Deno.writeTextFile(`${layout}/oci-layout`, `{"imageLayoutVersion":"1.0.0"}`);
  await Deno.writeTextFile(
    `${layout}/index.json`,
    JSON.stringify({ schemaVersion: 2, manifests: [manifest] }),
  );
  return layout;
}
