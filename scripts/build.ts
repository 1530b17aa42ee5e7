/**
 * Bundles and compiles the three executables into build/bin. `banger` comes last, since it carries the tails of the
 * other two: what `deno compile` appended to the runtime that all three share.
 *
 * deno task build [--force]
 */
import { createHash } from "node:crypto";
import { basename } from "node:path";
import { type BuildStamp, buildStampArgument } from "../lib/base/build.ts";
import { type Architecture, ARCHITECTURES } from "../lib/base/architecture.ts";
import { runtimeSizeBytes } from "../lib/cli/companions.ts";
import { type Executable, EXECUTABLES } from "./permissions.ts";

const root = new URL("..", import.meta.url).pathname;
const SOURCES = [
  "main.ts",
  "daemon.ts",
  "lib",
  "agent",
  "deno.json",
  "deno.lock",
  "scripts/permissions.ts",
  "scripts/build.ts",
];

/** Of `deno task kernel:build`, which takes an hour and may be running. */
const KERNEL_DIRECTORIES = ["kernel", "kernel-work"];

export const BIN_DIRECTORY = `${root}build/bin`;

async function output(program: string, args: string[], env: Record<string, string> = {}): Promise<string> {
  const { code, stdout, stderr } = await new Deno.Command(program, { args, cwd: root, env, stderr: "piped" })
    .output();
  if (code !== 0) {
    throw new Error(`${program} ${args.join(" ")} failed:\n${new TextDecoder().decode(stderr)}`);
  }
  return new TextDecoder().decode(stdout).trim();
}

async function* filesBelow(path: string): AsyncGenerator<string> {
  const info = await Deno.stat(path);
  if (info.isFile) return yield path;
  const names = (await Array.fromAsync(Deno.readDir(path))).map(({ name }) => name).sort();
  for (const name of names) yield* filesBelow(`${path}/${name}`);
}

/** Of everything that goes into the executables, so that an unchanged tree is not compiled again. */
async function inputsDigest(): Promise<string> {
  const hash = createHash("sha256").update(Deno.version.deno);
  for (const source of SOURCES) {
    for await (const path of filesBelow(`${root}${source}`)) {
      hash.update(`\0${path.slice(root.length)}\0`).update(await Deno.readFile(path));
    }
  }
  return hash.digest("hex");
}

/** Built from a clean commit, the stamp's time is the commit's: the same commit gives the same bytes. */
export async function stampOfCheckout(): Promise<BuildStamp> {
  const { version } = JSON.parse(await Deno.readTextFile(`${root}deno.json`)) as { version: string };
  const commit = await output("git", ["rev-parse", "--short=10", "HEAD"]);
  const isDirty = await output("git", ["status", "--porcelain"]) !== "";
  const committedAt = Number(await output("git", ["log", "-1", "--format=%ct"])) * 1000;
  const epoch = Deno.env.get("SOURCE_DATE_EPOCH");
  const builtAtMs = epoch ? Number(epoch) * 1000 : isDirty ? Date.now() : committedAt;
  const builtAt = new Date(builtAtMs).toISOString().replace(/\.\d+Z$/, "Z");
  return { version, commit: isDirty ? `${commit}-dirty` : commit, builtAt };
}

/**
 * Bundles first: files without packages start in half the time, and `deno compile` would put every package of the
 * lock file into every executable. What is imported dynamically gets files of its own, read when it is needed:
 * without a code cache an executable reads all of a file before it runs the first line of it.
 */
async function bundle({ name, entry, workers }: Executable): Promise<void> {
  const directory = `${root}build/${name}`;
  for (const [outdir, source] of [[directory, entry], ...workersIn(directory, workers)] as const) {
    const how = ["--quiet", "--frozen", "--code-splitting", "--outdir", outdir];
    await output(Deno.execPath(), ["bundle", ...how, source]);
  }
}

/** Where each worker's files go, and what it is bundled from. */
function workersIn(directory: string, workers: Executable["workers"]): [directory: string, source: string][] {
  return Object.entries(workers ?? {}).map(([name, source]) => [`${directory}/${name}`, source]);
}

/** The first file of an executable, as `bundle` names it. */
function bundledEntry({ name, entry }: Executable, directory: string): string {
  return `${directory}/${name}/${basename(entry, ".ts")}.js`;
}

/**
 * Compiles the bundles below build/ into executables in `directory`/bin. The smoke suite makes a second
 * build with it.
 */
export async function compileAll(
  directory: string,
  stamp: BuildStamp,
  architecture: Architecture = Deno.build.arch,
): Promise<void> {
  await Deno.mkdir(`${directory}/companions`, { recursive: true });
  await Deno.mkdir(`${directory}/bin`, { recursive: true });
  for (const executable of EXECUTABLES) {
    const { name } = executable;
    if (directory !== `${root}build`) {
      await output("cp", ["-rT", `${root}build/${name}`, `${directory}/${name}`]);
    }
    await compile(executable, directory, stamp, architecture);
    if (name !== "banger") await cutTail(directory, name);
  }
}

async function compile(
  executable: Executable,
  directory: string,
  stamp: BuildStamp,
  architecture: Architecture,
): Promise<void> {
  await output(Deno.execPath(), [
    "compile",
    "--quiet",
    "--no-check",
    // Deno keeps a compiled executable's code cache under a predictable name in /tmp, where another user could
    // plant one.
    "--no-code-cache",
    "--no-config",
    "--no-lock",
    "--no-npm",
    "--no-remote",
    ...["--target", ARCHITECTURES[architecture].compileTarget],
    ...executable.flags,
    ...workersIn(`${directory}/${executable.name}`, executable.workers).flatMap((
      [path],
    ) => ["--include", path]),
    ...(executable.carriesCompanions ? ["--include", `${directory}/companions`] : []),
    "--output",
    `${directory}/bin/${executable.name}`,
    bundledEntry(executable, directory),
    buildStampArgument(stamp),
  ], runtimeFor(architecture)).catch((thrown) => {
    if (architecture === Deno.build.arch || Deno.env.get(runtimeVariable(architecture))) throw thrown;
    const hint = `name a denort ${Deno.version.deno} for it in ${runtimeVariable(architecture)}`;
    throw new Error(`Deno cannot fetch its runtime for ${architecture}: ${hint}`, { cause: thrown });
  });
}

function runtimeVariable(architecture: Architecture): string {
  return `DENORT_BIN_${architecture.toUpperCase()}`;
}

/**
 * Deno takes `DENORT_BIN` for whatever target: for another processor than this one's another variable names it,
 * such as `DENORT_BIN_AARCH64`. Without it Deno fetches the runtime from its vendor.
 */
function runtimeFor(architecture: Architecture): Record<string, string> {
  if (architecture === Deno.build.arch) return {};
  return { DENORT_BIN: Deno.env.get(runtimeVariable(architecture)) ?? "" };
}

/** Cuts an executable's tail into companions/, where `banger` includes it from. */
async function cutTail(directory: string, name: string): Promise<void> {
  using executable = await Deno.open(`${directory}/bin/${name}`);
  const header = new Uint8Array(64);
  await executable.read(header);
  await executable.seek(runtimeSizeBytes(header), Deno.SeekMode.Start);
  await Deno.writeFile(`${directory}/companions/${name}.tail`, executable.readable);
}

/** @returns whether anything was compiled */
export async function build({ force = false } = {}): Promise<boolean> {
  const digest = await inputsDigest();
  const digestPath = `${root}build/inputs.sha256`;
  const built = await Deno.readTextFile(digestPath).catch(() => "");
  if (!force && built === digest) return false;
  await Deno.mkdir(`${root}build`, { recursive: true });
  for await (const { name } of Deno.readDir(`${root}build`)) {
    if (!KERNEL_DIRECTORIES.includes(name)) await Deno.remove(`${root}build/${name}`, { recursive: true });
  }
  for (const executable of EXECUTABLES) await bundle(executable);
  await compileAll(`${root}build`, await stampOfCheckout());
  await Deno.writeTextFile(digestPath, digest);
  return true;
}

if (import.meta.main) {
  const startedAtMs = performance.now();
  const compiled = await build({ force: Deno.args.includes("--force") });
  const took = `${((performance.now() - startedAtMs) / 1000).toFixed(1)} s`;
  console.log(compiled ? `built ${BIN_DIRECTORY} in ${took}` : `${BIN_DIRECTORY} is up to date`);
  for await (const { name } of Deno.readDir(BIN_DIRECTORY)) {
    console.log(
      `  ${name}  ${((await Deno.stat(`${BIN_DIRECTORY}/${name}`)).size / 2 ** 20).toFixed(1)} MiB`,
    );
  }
}
