/** Everything that is checked without running anything: format, lint, types, shell scripts, sizes of files. */
const root = new URL("..", import.meta.url).pathname;
const MAX_FILE_LINES = 400;

async function run(name: string, program: string, args: string[]): Promise<boolean> {
  const startedAtMs = performance.now();
  const { code, stdout, stderr } = await new Deno.Command(program, { args, cwd: root }).output();
  const took = `${((performance.now() - startedAtMs) / 1000).toFixed(1)} s`;
  console.log(`${code === 0 ? "ok    " : "FAILED"} ${name} (${took})`);
  if (code !== 0) console.log(new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr));
  return code === 0;
}

async function trackedFiles(...patterns: string[]): Promise<string[]> {
  const args = ["ls-files", "--cached", "--others", "--exclude-standard", ...patterns];
  const { stdout } = await new Deno.Command("git", { args, cwd: root }).output();
  return new TextDecoder().decode(stdout).split("\n").filter(Boolean);
}

async function shellScripts(): Promise<string[]> {
  const found: string[] = [];
  for (const path of await trackedFiles()) {
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

async function fileSizes(): Promise<boolean> {
  const large: string[] = [];
  for (const path of await trackedFiles("*.ts")) {
    const lines = (await Deno.readTextFile(`${root}${path}`).catch(() => "")).split("\n").length - 1;
    if (lines > MAX_FILE_LINES) large.push(`  ${path}: ${lines} lines`);
  }
  console.log(`${large.length === 0 ? "ok    " : "FAILED"} files of at most ${MAX_FILE_LINES} lines`);
  if (large.length > 0) console.log(large.join("\n"));
  return large.length === 0;
}

export async function lint(): Promise<boolean> {
  const deno = Deno.execPath();
  const results = [
    await run("format", deno, ["fmt", "--check"]),
    await run("lint", deno, ["lint", "--quiet"]),
    await run("types", deno, [
      "check",
      "--quiet",
      "main.ts",
      "daemon.ts",
      "agent",
      "lib",
      "scripts",
      "tests",
    ]),
    await run("shellcheck", "shellcheck", await shellScripts()),
    await run("import table", deno, ["test", "-A", "--quiet", "--no-check", "tests/architecture_test.ts"]),
    await fileSizes(),
  ];
  return results.every(Boolean);
}

if (import.meta.main && !(await lint())) Deno.exit(1);
