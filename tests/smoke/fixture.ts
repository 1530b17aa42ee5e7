/**
 * Drives the compiled executables as a user would, in a home of the suite's own. All files of the suite
 * share that home, so that the default image is made once.
 */
import assert from "node:assert/strict";

const root = new URL("../..", import.meta.url).pathname;
export const BIN = `${root}build/bin`;
export const BANGER = `${BIN}/banger`;
/** Emulated machines share two processors with whatever else runs: slow is no failure, hanging is. */
const TIMEOUT_MS = 300_000;

export const HOME = Deno.env.get("BANGER_SMOKE_HOME") ?? Deno.makeTempDirSync({ prefix: "banger-smoke-" });
export const STATE = `${HOME}/.local/state/banger`;

export interface Result {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly stdin?: string | Uint8Array;
  /** For a conversation. */
  readonly keepsStdinOpen?: boolean;
  readonly env?: Readonly<Record<string, string>>;
  readonly executable?: string;
  /** Default: the suite's home, which is in no repository, so that `vm run` sends none. */
  readonly cwd?: string;
}

/** A clean environment: nothing of the caller's reaches the tests. */
export function environment(extra: Readonly<Record<string, string>> = {}): Record<string, string> {
  return { HOME, PATH: Deno.env.get("PATH") ?? "", TERM: "dumb", LANG: "C.UTF-8", ...extra };
}

export async function banger(args: readonly string[], options: RunOptions = {}): Promise<Result> {
  const child = start(args, options);
  const text = (stream: ReadableStream<Uint8Array>) => new Response(stream).text();
  const [status, stdout, stderr] = await Promise.all([child.status, text(child.stdout), text(child.stderr)]);
  return { code: status.code, stdout, stderr };
}

/** For what is interrupted half-way. */
export function start(args: readonly string[], options: RunOptions = {}): Deno.ChildProcess {
  const child = new Deno.Command(options.executable ?? BANGER, {
    args: [...args],
    cwd: options.cwd ?? HOME,
    env: environment(options.env),
    clearEnv: true,
    stdin: options.stdin === undefined && !options.keepsStdinOpen ? "null" : "piped",
    stdout: "piped",
    stderr: "piped",
    signal: AbortSignal.timeout(TIMEOUT_MS),
  }).spawn();
  if (options.stdin !== undefined) void feed(child.stdin, options.stdin);
  return child;
}

async function feed(stdin: WritableStream<Uint8Array>, input: string | Uint8Array): Promise<void> {
  const writer = stdin.getWriter();
  await writer.write(typeof input === "string" ? new TextEncoder().encode(input) : input);
  await writer.close();
}

/** Of the host's, in the suite's home. */
export async function runProgram(program: string, ...args: string[]): Promise<Result> {
  const { code, stdout, stderr } = await new Deno.Command(program, { args, env: environment() }).output();
  return { code, stdout: new TextDecoder().decode(stdout), stderr: new TextDecoder().decode(stderr) };
}

/** Runs and expects success. @returns stdout */
export async function ok(args: readonly string[], options: RunOptions = {}): Promise<string> {
  const result = await banger(args, options);
  assert.equal(result.code, 0, `banger ${args.join(" ")} failed:\n${result.stdout}\n${result.stderr}`);
  return result.stdout;
}

/** Runs and expects a refusal that says why and what to do. */
export async function refused(
  args: readonly string[],
  code: number,
  pattern: RegExp,
  options: RunOptions = {},
): Promise<void> {
  const result = await banger(args, options);
  const shown = `banger ${args.join(" ")} exited ${result.code}:\n${result.stdout}\n${result.stderr}`;
  assert.equal(result.code, code, shown);
  assert.match(result.stderr, pattern, shown);
  assert.equal(result.stdout, "", "stdout carries results only");
}

export async function daemonPid(): Promise<number> {
  return (JSON.parse(await ok(["daemon", "status", "--json"])) as { pid: number }).pid;
}

/** As power loss would: no handler runs. The next command starts a new daemon. */
export async function killDaemon(): Promise<void> {
  await ok(["daemon", "start"]);
  const pid = await daemonPid();
  Deno.kill(pid, "SIGKILL");
  await until(() => !isAlive(pid), "the daemon is gone");
}

export function isAlive(pid: number): boolean {
  try {
    const stat = Deno.readTextFileSync(`/proc/${pid}/stat`);
    return !/\) [ZX] /.test(stat);
  } catch {
    return false; // no such process
  }
}

/** @param what for the failure's text */
export async function until(
  condition: () => boolean | Promise<boolean>,
  what: string,
  timeoutMs = 60_000,
): Promise<void> {
  const deadlineMs = performance.now() + timeoutMs;
  while (!(await condition())) {
    assert.ok(performance.now() < deadlineMs, `waited ${timeoutMs / 1000} s until ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

export async function vm(name: string): Promise<Record<string, unknown>> {
  return JSON.parse(await ok(["vm", "show", name, "--json"])) as Record<string, unknown>;
}

export async function vmNames(): Promise<string[]> {
  return (await ok(["vm", "list", "--all", "--quiet"])).split("\n").filter(Boolean);
}

/** Processes that belong to this suite's machines and relays. */
export async function machineProcesses(): Promise<string[]> {
  const found: string[] = [];
  for await (const { name } of Deno.readDir("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    const commandLine = await Deno.readTextFile(`/proc/${name}/cmdline`).catch(() => "");
    if (/qemu-system|\0relay\0/.test(commandLine) && commandLine.includes(STATE)) found.push(name);
  }
  return found;
}

/** What a scenario makes it removes, whatever happens in between. */
export function removing(name: string): AsyncDisposable {
  return {
    async [Symbol.asyncDispose]() {
      await banger(["vm", "rm", "--force", "--purge", name]);
    },
  };
}

/** A home of its own, with its own daemon; both are gone afterwards. */
export async function otherHome(): Promise<{ HOME: string } & AsyncDisposable> {
  const home = await Deno.makeTempDir({ prefix: "banger-other-" });
  return {
    HOME: home,
    async [Symbol.asyncDispose]() {
      const env = { HOME: home };
      // Asked again: of several first commands a late one's daemon may take over from the one that ended.
      await until(async () => {
        await banger(["daemon", "stop", "--force"], { env });
        return (await banger(["daemon", "status"], { env })).code === 1;
      }, "its daemon is gone");
      // The daemon's last act is to close its database.
      await until(
        () => Deno.remove(home, { recursive: true }).then(() => true, () => false),
        `${home} is removed`,
      );
    },
  };
}
