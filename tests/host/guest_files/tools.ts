import assert from "node:assert/strict";
import type { RunOptions, RunResult } from "../../../lib/base/host.ts";
import { realHost } from "../../../lib/sys/host.ts";

export const host = realHost();

/** Fails with what to install: a judge that is missing must not pass as a verdict. */
export async function requireTools(...programs: string[]): Promise<void> {
  for (const program of programs) {
    assert.ok(
      await host.processes.which(program),
      `this test needs ${program}: install it (see scripts/dev)`,
    );
  }
}

export async function run(
  program: string,
  args: string[],
  options: RunOptions & { env?: Record<string, string>; cwd?: string } = {},
): Promise<RunResult> {
  const { env, cwd, ...rest } = options;
  return await host.processes.run(
    { program, args, ...(env === undefined ? {} : { env }), ...(cwd === undefined ? {} : { cwd }) },
    { timeoutMs: 60_000, ...rest },
  );
}

/** As `run`, but a failure fails the test with everything that was said. */
export async function runOk(...call: Parameters<typeof run>): Promise<string> {
  const result = await run(...call);
  const [program, args] = call;
  assert.equal(result.code, 0, `${program} ${args.join(" ")}\n${result.stdout}\n${result.stderr}`);
  return result.stdout;
}

/** A directory that is gone when the test ends. */
export async function temporaryDirectory(): Promise<AsyncDisposable & { path: string }> {
  const path = await Deno.makeTempDir({ prefix: "banger-test-" });
  return { path, [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }) };
}

export async function write(path: string, text: string, mode = 0o644): Promise<void> {
  await Deno.mkdir(path.replace(/\/[^/]*$/, ""), { recursive: true });
  await Deno.writeTextFile(path, text, { mode });
  await Deno.chmod(path, mode);
}

export async function modeOf(path: string): Promise<string> {
  return ((await Deno.lstat(path)).mode! & 0o7777).toString(8);
}
