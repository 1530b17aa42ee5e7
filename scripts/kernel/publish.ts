/**
 * Packs a kernel of the local store as a bundle, uploads it, checks that it can be had, and writes it into the
 * catalog.
 *
 * deno task publish-kernel NAME --to REMOTE --url URL [--description TEXT] [--dry-run]
 */
import { parseArgs } from "node:util";
import { createHash } from "node:crypto";
import type { Architecture } from "../../lib/base/architecture.ts";
import { type CatalogEntry, catalogKey, parseCatalog } from "../../lib/kernel/catalog.ts";
import { kernelFiles, type KernelManifest, readManifest } from "../../lib/kernel/manifest.ts";
import { parseKernelName } from "../../lib/base/names.ts";
import { resolvePaths } from "../../lib/store/paths.ts";
import { realHost } from "../../lib/sys/host.ts";

const root = new URL("../..", import.meta.url).pathname;
const CATALOG_FILE = `${root}lib/kernel/catalog.json`;
const USAGE =
  "deno task publish-kernel NAME --to RCLONE-REMOTE:PATH --url URL [--description TEXT] [--dry-run]";
/** Of a check of the published file. */
const CHECK_TIMEOUT_MS = 10 * 60 * 1000;

export interface PublishOptions {
  readonly name: string;
  readonly kernelsDirectory: string;
  /** Where the bundle is made. */
  readonly outputDirectory: string;
  /** An rclone remote and path: `store:kernels`. */
  readonly to: string;
  /** Under which the remote's files are public. */
  readonly url: string;
  readonly description?: string;
  readonly catalogFile: string;
  /** Packs and reports, and uploads and changes nothing. */
  readonly isDryRun: boolean;
  readonly say: (line: string) => void;
}

interface Packed {
  readonly path: string;
  readonly fileName: string;
  readonly sha256: string;
  readonly sizeBytes: number;
}

async function run(program: string, args: readonly string[]): Promise<void> {
  const { code, stderr } = await new Deno.Command(program, { args: [...args], stdout: "null" }).output();
  if (code !== 0) {
    throw new Error(`${program} fails with ${code}: ${new TextDecoder().decode(stderr).trim()}`);
  }
}

/** The same store entry gives the same bytes: members in order, no times, no owners, one compressing thread. */
async function packBundle(
  directory: string,
  manifest: KernelManifest,
  outputDirectory: string,
): Promise<Packed> {
  await Deno.mkdir(outputDirectory, { recursive: true });
  const fileName = `${manifest.name}-${manifest.version}-${manifest.architecture}.tar.zst`;
  const path = `${outputDirectory}/${fileName}`;
  const plain = `${path}.tar`;
  const members = Object.values(kernelFiles(directory)).map((file) => file.slice(directory.length + 1))
    .sort();
  try {
    await run("tar", [
      "--create",
      `--file=${plain}`,
      `--directory=${directory}`,
      "--format=ustar",
      "--owner=0",
      "--group=0",
      "--numeric-owner",
      "--mode=0644",
      "--mtime=@0",
      ...members,
    ]);
    await run("zstd", ["--quiet", "--force", "-19", "-T1", plain, "-o", path]);
  } finally {
    await Deno.remove(plain).catch(() => {}); // tar may have failed before it made the file
  }
  const hash = createHash("sha256");
  let sizeBytes = 0;
  using file = await Deno.open(path);
  for await (const chunk of file.readable) {
    hash.update(chunk);
    sizeBytes += chunk.length;
  }
  return { path, fileName, sha256: hash.digest("hex"), sizeBytes };
}

/** @throws {Error} where what is served is not, byte for byte, what was packed */
async function checkPublished(url: string, packed: Packed): Promise<void> {
  const response = await fetch(url, { signal: AbortSignal.timeout(CHECK_TIMEOUT_MS) });
  if (!response.ok || !response.body) {
    await response.body?.cancel();
    throw new Error(`${url} answers with status ${response.status}`);
  }
  const hash = createHash("sha256");
  let sizeBytes = 0;
  for await (const chunk of response.body) {
    hash.update(chunk);
    sizeBytes += chunk.length;
  }
  if (sizeBytes !== packed.sizeBytes || hash.digest("hex") !== packed.sha256) {
    throw new Error(`${url} serves ${sizeBytes} bytes that are not what was uploaded`);
  }
}

/** @returns the catalog with the entry in its place; an entry of that name and architecture is replaced */
function withEntry(catalog: readonly CatalogEntry[], entry: CatalogEntry): readonly CatalogEntry[] {
  const others = catalog.filter((other) => catalogKey(other) !== catalogKey(entry));
  return parseCatalog([...others, entry].sort((a, b) => catalogKey(a) < catalogKey(b) ? -1 : 1));
}

/** @returns what goes into the catalog. Exported for tests. */
export async function publishKernel(options: PublishOptions): Promise<CatalogEntry> {
  const { say } = options;
  const name = parseKernelName(options.name);
  const directory = `${options.kernelsDirectory}/${name}`;
  const manifest = await readManifest(realHost().files, directory, name);
  const packed = await packBundle(directory, manifest, options.outputDirectory);
  say(`packed ${packed.fileName}: ${packed.sizeBytes} bytes, sha256 ${packed.sha256}`);
  const url = `${options.url.replace(/\/+$/, "")}/${encodeURIComponent(packed.fileName)}`;
  const catalog = parseCatalog(JSON.parse(await Deno.readTextFile(options.catalogFile)));
  const entry: CatalogEntry = {
    name,
    distribution: manifest.distribution,
    architecture: manifest.architecture as Architecture,
    version: manifest.version,
    description: options.description ?? catalog.find((known) => known.name === name)?.description ??
      `${manifest.distribution} ${manifest.version}`,
    source: { url, sha256: packed.sha256, sizeBytes: packed.sizeBytes },
  };
  const changed = withEntry(catalog, entry);
  if (options.isDryRun) {
    say(`would upload it to ${options.to}, check ${url} and write the catalog's entry:`);
    say(JSON.stringify(entry, undefined, 2));
    return entry;
  }
  await run("rclone", ["copyto", packed.path, `${options.to.replace(/\/+$/, "")}/${packed.fileName}`]);
  say(`uploaded to ${options.to}`);
  await checkPublished(url, packed);
  say(`${url} serves it`);
  await Deno.writeTextFile(options.catalogFile, `${JSON.stringify(changed, undefined, 2)}\n`);
  say(`wrote ${options.catalogFile}`);
  return entry;
}

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    args: Deno.args,
    allowPositionals: true,
    options: {
      to: { type: "string" },
      url: { type: "string" },
      description: { type: "string" },
      "dry-run": { type: "boolean", default: false },
    },
  });
  const [name] = positionals;
  if (!name || positionals.length > 1 || !values.to || !values.url) {
    console.error(`Cannot publish a kernel: name, --to and --url are needed\n  ${USAGE}`);
    return 2;
  }
  await publishKernel({
    name,
    kernelsDirectory: resolvePaths((variable) => Deno.env.get(variable), Deno.uid() ?? 0).kernelsDirectory,
    outputDirectory: `${root}build/publish`,
    to: values.to,
    url: values.url,
    ...(values.description === undefined ? {} : { description: values.description }),
    catalogFile: CATALOG_FILE,
    isDryRun: values["dry-run"],
    say: (line) => console.log(line),
  });
  return 0;
}

if (import.meta.main) {
  try {
    Deno.exit(await main());
  } catch (thrown) {
    console.error(`Cannot publish the kernel: ${thrown instanceof Error ? thrown.message : thrown}`);
    Deno.exit(1);
  }
}
