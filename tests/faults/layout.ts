/** An archive of an OCI image-layout with one image of one layer. */
import { createHash } from "node:crypto";

/** @param layerTar an uncompressed tar @returns the archive's path */
export async function makeLayoutArchive(directory: string, name: string, layerTar: string): Promise<string> {
  const layout = `${directory}/${name}.oci`;
  await Deno.mkdir(`${layout}/blobs/sha256`, { recursive: true });
  const put = async (type: string, content: Uint8Array | object) => {
    const bytes = content instanceof Uint8Array ? content : new TextEncoder().encode(JSON.stringify(content));
    const hex = createHash("sha256").update(bytes).digest("hex");
    await Deno.writeFile(`${layout}/blobs/sha256/${hex}`, bytes);
    return { mediaType: `application/vnd.oci.image.${type}`, digest: `sha256:${hex}`, size: bytes.length };
  };
  const layer = await put("layer.v1.tar", await Deno.readFile(layerTar));
  const manifest = await put("manifest.v1+json", {
    schemaVersion: 2,
    mediaType: "application/vnd.oci.image.manifest.v1+json",
    config: await put("config.v1+json", {
      os: "linux",
      architecture: Deno.build.arch === "x86_64" ? "amd64" : "arm64",
      config: {},
      rootfs: { type: "layers", diff_ids: [layer.digest] },
    }),
    layers: [layer],
  });
  await Deno.writeTextFile(`${layout}/oci-layout`, `{"imageLayoutVersion":"1.0.0"}`);
  const index = { schemaVersion: 2, manifests: [manifest] };
  await Deno.writeTextFile(`${layout}/index.json`, JSON.stringify(index));
  const archive = `${directory}/${name}.oci.tar`;
  const { code } = await new Deno.Command("tar", { args: ["-C", layout, "-cf", archive, "."] }).output();
  if (code !== 0) throw new Error(`tar failed with ${code}`);
  return archive;
}
