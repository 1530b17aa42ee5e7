import assert from "node:assert/strict";
import type { Progress } from "../../../lib/base/host.ts";
import { libc } from "../../../lib/sys/libc.ts";

// Before the first test: a library that one test loads and all use is no leak of that test.
libc();

export const NEVER = new AbortController().signal;
export const SILENT: Progress = { stage() {}, update() {}, note() {} };

/** A measurement, for whoever reads the run. */
export function report(text: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`    ${text}\n`));
}

/** Runs a tool that judges us. A missing one fails the test with its name. */
export async function run(
  program: string,
  args: readonly string[],
  options: { stdin?: Uint8Array; cwd?: string; env?: Record<string, string> } = {},
): Promise<{ code: number; stdout: Uint8Array<ArrayBuffer>; text: string; stderr: string }> {
  const child = new Deno.Command(program, {
    args: [...args],
    stdin: options.stdin ? "piped" : "null",
    stdout: "piped",
    stderr: "piped",
    env: { LC_ALL: "C.UTF-8", PATH: `${Deno.env.get("PATH")}:/usr/sbin:/sbin`, ...options.env },
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
  }).spawn();
  const feeding = options.stdin
    ? new Blob([new Uint8Array(options.stdin)]).stream().pipeTo(child.stdin)
    : undefined;
  const { code, stdout, stderr } = await child.output();
  await feeding?.catch((failure) => assert.equal(failure.name, "BrokenPipe"));
  return {
    code,
    stdout: new Uint8Array(stdout),
    text: new TextDecoder().decode(stdout),
    stderr: new TextDecoder().decode(stderr),
  };
}

/** As `run`, and the tool must succeed. */
export async function runWell(...args: Parameters<typeof run>): ReturnType<typeof run> {
  const result = await run(...args);
  assert.equal(result.code, 0, `${args[0]} ${args[1].join(" ")}: ${result.stderr}`);
  return result;
}

export async function inTemporaryDirectory(body: (directory: string) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "banger-kernel-host-" });
  try {
    await body(directory);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}
