/** Other people's tools: registry, umoci, skopeo, tar. */
import assert from "node:assert/strict";

/** Runs a program to its end. A missing one, or a failure, is a failure of the test with its reason. */
export async function run(
  program: string,
  args: readonly string[],
  options: { readonly cwd?: string; readonly env?: Record<string, string> } = {},
): Promise<Uint8Array> {
  const command = new Deno.Command(program, {
    args: [...args],
    stdout: "piped",
    stderr: "piped",
    ...options,
  });
  let output: Deno.CommandOutput;
  try {
    output = await command.output();
  } catch (failure) {
    throw new Error(`this test needs ${program} on PATH`, { cause: failure });
  }
  assert(output.success, `${program} ${args.join(" ")}: ${new TextDecoder().decode(output.stderr)}`);
  return output.stdout;
}

/** A directory that is gone when the test is over. */
export async function temporaryDirectory(): Promise<AsyncDisposable & { readonly path: string }> {
  const path = await Deno.makeTempDir({ prefix: "banger-oci-" });
  return { path, [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }) };
}

/** Makes an OCI layout with an image of these layers, by umoci. */
export async function makeImage(layout: string, tag: string, layers: readonly string[]): Promise<void> {
  const exists = await Deno.stat(`${layout}/oci-layout`).then(() => true, () => false);
  if (!exists) await run("umoci", ["init", "--layout", layout]);
  await run("umoci", ["new", "--image", `${layout}:${tag}`]);
  for (const layer of layers) await run("umoci", ["raw", "add-layer", "--image", `${layout}:${tag}`, layer]);
}

/** Unpacks an image by umoci. @returns the directory with its root file system */
export async function umociUnpack(layout: string, tag: string, bundle: string): Promise<string> {
  await run("umoci", ["unpack", "--image", `${layout}:${tag}`, bundle]);
  return `${bundle}/rootfs`;
}

export async function pushToRegistry(layout: string, tag: string, to: string, more: readonly string[] = []) {
  await run("skopeo", [
    "copy",
    "-q",
    "--dest-tls-verify=false",
    ...more,
    `oci:${layout}:${tag}`,
    `docker://${to}`,
  ]);
}

/** Pushes a layout's images, tagged by their architectures, and an index over them. @param to its reference */
export async function pushIndex(layout: string, architectures: readonly string[], to: string): Promise<void> {
  const [, repository, tag] = /^(.*):([^:/]+)$/.exec(to)!;
  const manifestUrl = (name: string) => `http://${repository!.replace("/", "/v2/")}/manifests/${name}`;
  const mediaType = "application/vnd.oci.image.manifest.v1+json";
  const manifests = [];
  for (const architecture of architectures) {
    await pushToRegistry(layout, architecture, `${repository}:${architecture}`);
    const pushed = await fetch(manifestUrl(architecture), { headers: { accept: mediaType } });
    const size = (await pushed.arrayBuffer()).byteLength;
    const digest = pushed.headers.get("docker-content-digest");
    manifests.push({ mediaType, digest, size, platform: { os: "linux", architecture } });
  }
  const indexType = "application/vnd.oci.image.index.v1+json";
  const response = await fetch(manifestUrl(tag!), {
    method: "PUT",
    headers: { "content-type": indexType },
    body: JSON.stringify({ schemaVersion: 2, mediaType: indexType, manifests }),
  });
  assert.equal(response.status, 201, await response.text());
}
