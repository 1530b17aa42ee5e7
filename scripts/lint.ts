/**
 * Everything that is checked without running anything: format, lint (with the house's own rules, scripts/lint/plugin.ts),
 * types, shell scripts, the import table, generated documents, sizes of files, dead exports, licences.
 */
import { deadExports, type Source } from "./lint/exports.ts";
import { refusedLicences } from "./lint/licences.ts";
import { readSources, trackedFiles } from "./lint/sources.ts";

const root = new URL("..", import.meta.url).pathname;
const MAX_FILE_LINES = 400;
const DEAD_EXPORT_REMEDY =
  'Take "export" away, or the whole; what only tests use says so in its docstring: "Exported for tests."';

async function run(name: string, program: string, args: string[]): Promise<boolean> {
  const startedAtMs = performance.now();
  const { code, stdout, stderr } = await new Deno.Command(program, { args, cwd: root }).output();
  const took = `${((performance.now() - startedAtMs) / 1000).toFixed(1)} s`;
  console.log(`${code === 0 ? "ok    " : "FAILED"} ${name} (${took})`);
  if (code !== 0) console.log(new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr));
  return code === 0;
}

async function shellScripts(): Promise<string[]> {
  const found: string[] = [];
  for (const path of await trackedFiles(root)) {
    const start = await Deno.open(`${root}${path}`).then(async (file) => {
      const buffer = new Uint8Array(64);
      const count = await file.read(buffer) ?? 0;
      file.close();
      return new TextDecoder().decode(buffer.subarray(0, count));
    }).catch(() => "");
    if (/^#!.*\b(sh|bash)\b/.test(start) || path.endsWith(".sh")) found.push(path);
  }
  return found;
}

/** @param complaints one line each. @param remedy for whoever reads them */
function judge(name: string, complaints: readonly string[], remedy?: string): boolean {
  console.log(`${complaints.length === 0 ? "ok    " : "FAILED"} ${name}`);
  for (const line of complaints) console.log(`  ${line}`);
  if (complaints.length > 0 && remedy !== undefined) console.log(`  ${remedy}`);
  return complaints.length === 0;
}

function fileSizes(sources: readonly Source[]): boolean {
  const large = sources.map(({ path, text }) => ({ path, lines: text.split("\n").length - 1 }))
    .filter(({ lines }) => lines > MAX_FILE_LINES).map(({ path, lines }) => `${path}: ${lines} lines`);
  return judge(`files of at most ${MAX_FILE_LINES} lines`, large);
}

async function licences(deno: string): Promise<boolean> {
  const { stdout } = await new Deno.Command(deno, { args: ["info", "--json"], cwd: root }).output();
  const { npmCache } = JSON.parse(new TextDecoder().decode(stdout)) as { npmCache: string };
  const refused = await refusedLicences(await Deno.readTextFile(`${root}deno.lock`), npmCache);
  return judge(
    "licences of packages",
    refused,
    "Use another package, or add the licence in scripts/lint/licences.ts",
  );
}

export async function lint(): Promise<boolean> {
  const deno = Deno.execPath();
  const sources = await readSources(root);
  const results = await Promise.all([
    run("format", deno, ["fmt", "--check"]),
    run("lint", deno, ["lint", "--quiet"]),
    run("types", deno, [
      "check",
      "--quiet",
      "main.ts",
      "daemon.ts",
      "agent",
      "lib",
      "scripts",
      "tests",
    ]),
    run("shellcheck", "shellcheck", await shellScripts()),
    run("import table", deno, ["test", "-A", "--quiet", "--no-check", "tests/architecture_test.ts"]),
    run("generated documents", deno, ["run", "-A", "scripts/reference.ts", "--check"]),
    fileSizes(sources),
    judge("exports are used", deadExports(sources), DEAD_EXPORT_REMEDY),
    licences(deno),
  ]);
  return results.every(Boolean);
}

if (import.meta.main && !(await lint())) Deno.exit(1);
