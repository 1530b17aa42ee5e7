/**
 * Makes a release: the executable, its checksums, an SBOM, an installer, completions and manual pages.
 *
 * deno task release [--url URL] [--output DIR] [--arch NAME]… [--dirty]
 *
 * --arch, which may be repeated, says for which processors: x86_64, aarch64 (default: this host's). For another one
 * than this host's, DENORT_BIN_AARCH64 or DENORT_BIN_X86_64 names its runtime, else Deno fetches it.
 *
 * From a clean commit the same commit gives the same bytes: nothing of this machine or moment goes in.
 */
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { parseArgs } from "node:util";
import { type Architecture, ARCHITECTURES } from "../lib/base/architecture.ts";
import type { BuildStamp } from "../lib/base/build.ts";
import { runtimeSizeBytes } from "../lib/cli/companions.ts";
import { BIN_DIRECTORY, build, compileAll, stampOfCheckout } from "./build.ts";
import { manualPages } from "./reference.ts";

const root = new URL("..", import.meta.url).pathname;
const MAX_EXECUTABLE_BYTES = 130_000_000;
const SHELLS = ["bash", "zsh", "fish"] as const;

async function output(program: string, args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await new Deno.Command(program, { args: [...args], cwd: root }).output();
  if (code === 0) return new TextDecoder().decode(stdout);
  throw new Error(`${program} ${args.join(" ")} fails: ${new TextDecoder().decode(stderr).trim()}`);
}

async function sha256(path: string): Promise<string> {
  const hash = createHash("sha256");
  using file = await Deno.open(path);
  for await (const chunk of file.readable) hash.update(chunk);
  return hash.digest("hex");
}

interface LockFile {
  readonly npm: Readonly<Record<string, { readonly integrity: string }>>;
}

interface SpdxPackage {
  readonly SPDXID: string;
  readonly name: string;
  readonly versionInfo: string;
  readonly downloadLocation: string;
  readonly licenseConcluded: string;
  readonly checksums?: readonly { readonly algorithm: string; readonly checksumValue: string }[];
  readonly externalRefs?: readonly Readonly<Record<string, string>>[];
}

/** A package of the lock file: `@scope/name@1.2.3`, with what stands behind an underscore left out. */
function npmPackage(key: string, integrity: string): SpdxPackage {
  const at = key.lastIndexOf("@", key.includes("_") ? key.indexOf("_") : undefined);
  const name = key.slice(0, at);
  const versionInfo = key.slice(at + 1).split("_")[0]!;
  return {
    SPDXID: `SPDXRef-npm-${`${name}-${versionInfo}`.replaceAll(/[^A-Za-z0-9.-]/g, "-")}`,
    name,
    versionInfo,
    downloadLocation: "NOASSERTION",
    licenseConcluded: "NOASSERTION",
    checksums: [{
      algorithm: "SHA512",
      checksumValue: Buffer.from(integrity.replace(/^sha512-/, ""), "base64").toString("hex"),
    }],
    externalRefs: [{
      referenceCategory: "PACKAGE-MANAGER",
      referenceType: "purl",
      referenceLocator: `pkg:npm/${encodeURIComponent(name).replace("%2F", "/")}@${versionInfo}`,
    }],
  };
}

/** Source: SPDX 2.3. Exported for tests. */
export function sbom(options: {
  version: string;
  createdAt: string;
  executableSha256: string;
  runtimeSha256: string;
  lock: LockFile;
}): unknown {
  const { version, createdAt, executableSha256, runtimeSha256, lock } = options;
  const packages: SpdxPackage[] = [
    {
      SPDXID: "SPDXRef-banger",
      name: "banger",
      versionInfo: version,
      downloadLocation: "NOASSERTION",
      licenseConcluded: "MIT",
      checksums: [{ algorithm: "SHA256", checksumValue: executableSha256 }],
    },
    {
      SPDXID: "SPDXRef-denort",
      name: "denort",
      versionInfo: Deno.version.deno,
      downloadLocation: "NOASSERTION",
      licenseConcluded: "MIT",
      checksums: [{ algorithm: "SHA256", checksumValue: runtimeSha256 }],
    },
    ...Object.entries(lock.npm).map(([key, { integrity }]) => npmPackage(key, integrity)),
  ];
  return {
    spdxVersion: "SPDX-2.3",
    dataLicense: "CC0-1.0",
    SPDXID: "SPDXRef-DOCUMENT",
    name: `banger-${version}`,
    documentNamespace: `https://spdx.org/spdxdocs/banger-${version}-${executableSha256}`,
    creationInfo: { created: createdAt, creators: ["Tool: banger-release"] },
    packages,
    relationships: packages.slice(1).map(({ SPDXID }) => ({
      spdxElementId: "SPDXRef-banger",
      relationshipType: "CONTAINS",
      relatedSpdxElement: SPDXID,
    })),
  };
}

/** Of the runtime that all three executables begin with. */
async function runtimeDigest(executable: string): Promise<string> {
  using file = await Deno.open(executable);
  const header = new Uint8Array(64);
  await file.read(header);
  await file.seek(0, Deno.SeekMode.Start);
  const hash = createHash("sha256");
  let left = runtimeSizeBytes(header);
  for await (const chunk of file.readable) {
    hash.update(chunk.subarray(0, left));
    left -= Math.min(left, chunk.length);
    if (left === 0) break;
  }
  return hash.digest("hex");
}

interface ReleaseOptions {
  readonly directory: string;
  /** Where it will be served from. */
  readonly url?: string;
  readonly allowDirty: boolean;
  /** Default: this host's. */
  readonly architectures?: readonly Architecture[];
}

/**
 * Compiles the executable for a processor, and writes it and its SBOM.
 *
 * @returns the files' names
 */
async function releaseFor(
  architecture: Architecture,
  { directory, url }: ReleaseOptions,
  stamp: BuildStamp,
): Promise<string[]> {
  // Once more with the release's address in it: `banger upgrade` looks there.
  const work = `${root}build/release-work`;
  await compileAll(work, { ...stamp, ...(url === undefined ? {} : { releaseUrl: url }) }, architecture);
  const banger = `${work}/bin/banger`;
  await requireMachine(banger, architecture);
  const { size } = await Deno.stat(banger);
  if (size > MAX_EXECUTABLE_BYTES) throw new Error(`the executable has ${size} bytes, and may have 130 MB`);
  const name = `banger-${stamp.version}-linux-${architecture}`;
  await Deno.copyFile(banger, `${directory}/${name}`);
  const document = sbom({
    version: stamp.version,
    createdAt: stamp.builtAt,
    executableSha256: await sha256(banger),
    runtimeSha256: await runtimeDigest(banger),
    lock: JSON.parse(await Deno.readTextFile(`${root}deno.lock`)) as LockFile,
  });
  await Deno.writeTextFile(`${directory}/${name}.spdx.json`, `${JSON.stringify(document, undefined, 2)}\n`);
  await Deno.remove(work, { recursive: true });
  return [name, `${name}.spdx.json`];
}

/** A runtime for another processor would be taken as it is. Exported for tests. */
export async function requireMachine(executable: string, architecture: Architecture): Promise<void> {
  using file = await Deno.open(executable);
  const header = new Uint8Array(64);
  await file.read(header);
  const machine = new DataView(header.buffer).getUint16(18, true);
  if (machine === ARCHITECTURES[architecture].elfMachine) return;
  throw new Error(
    `what was compiled for ${architecture} is for another processor (ELF machine ${machine}): check the runtime that ` +
      `DENORT_BIN${architecture === Deno.build.arch ? "" : `_${architecture.toUpperCase()}`} names`,
  );
}

/** @returns the release's files, by name */
export async function release(options: ReleaseOptions): Promise<string[]> {
  const { directory, url, allowDirty, architectures = [Deno.build.arch] } = options;
  if (!allowDirty && await output("git", ["status", "--porcelain"]) !== "") {
    throw new Error("the checkout has changes that are in no commit; commit them, or give --dirty");
  }
  await build();
  const stamp = await stampOfCheckout();
  await Deno.remove(directory, { recursive: true }).catch((thrown) => {
    if (!(thrown instanceof Deno.errors.NotFound)) throw thrown;
  });
  await Deno.mkdir(`${directory}/man`, { recursive: true });
  await Deno.mkdir(`${directory}/completions`);
  const made: string[] = [];
  for (const architecture of architectures) made.push(...await releaseFor(architecture, options, stamp));
  for (const shell of SHELLS) {
    await Deno.writeTextFile(
      `${directory}/completions/banger.${shell}`,
      await output(`${BIN_DIRECTORY}/banger`, ["completion", shell]),
    );
  }
  for (const [name, page] of manualPages({ version: stamp.version, date: stamp.builtAt.slice(0, 10) })) {
    await Deno.writeTextFile(`${directory}/man/${name}`, page);
  }
  const installer = await Deno.readTextFile(`${root}scripts/install.sh`);
  await Deno.writeTextFile(
    `${directory}/install.sh`,
    url === undefined ? installer : installer.replace("${BANGER_RELEASE_URL:-}", shellWord(url)),
  );
  await Deno.chmod(`${directory}/install.sh`, 0o755);
  const listed = [...made, "install.sh"].sort();
  const sums = await Promise.all(
    listed.map(async (name) => `${await sha256(`${directory}/${name}`)}  ${name}`),
  );
  await Deno.writeTextFile(`${directory}/SHA256SUMS`, `${sums.join("\n")}\n`);
  return [...listed, "SHA256SUMS"];
}

function shellWord(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

if (import.meta.main) {
  const { values } = parseArgs({
    args: Deno.args,
    options: {
      url: { type: "string" },
      output: { type: "string" },
      dirty: { type: "boolean", default: false },
      arch: { type: "string", multiple: true, default: [Deno.build.arch] },
    },
  });
  const directory = values.output ?? `${root}build/release`;
  try {
    const unknown = values.arch.find((name) => !(name in ARCHITECTURES));
    if (unknown !== undefined) throw new Error(`there is no architecture ${JSON.stringify(unknown)}`);
    const files = await release({
      directory,
      architectures: values.arch as Architecture[],
      ...(values.url === undefined ? {} : { url: values.url }),
      allowDirty: values.dirty,
    });
    console.log(`${directory}: ${files.join(", ")}, completions/, man/`);
  } catch (thrown) {
    console.error(`Cannot make a release: ${thrown instanceof Error ? thrown.message : thrown}`);
    Deno.exit(1);
  }
}
