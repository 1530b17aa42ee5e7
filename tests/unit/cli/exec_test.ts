import assert from "node:assert/strict";
import type { Context, ExecSession, ExecStart } from "../../../lib/cli/command.ts";
import { execInGuest, type ExecRequest } from "../../../lib/cli/exec.ts";
import type { Terminal } from "../../../lib/base/terminal.ts";

/** A guest whose command ends when `end` is called, and a terminal whose keys and signals the test gives. */
function fixture(options: { isTerminal?: boolean } = {}) {
  const end = Promise.withResolvers<number>();
  const handlers = new Map<string, () => void>();
  const keys: (Uint8Array | null)[] = [];
  let wake = Promise.withResolvers<void>();
  const seen = {
    start: undefined as ExecStart | undefined,
    stdin: "",
    signals: [] as string[],
    raw: [] as boolean[],
    stderr: "",
  };
  let nowMs = 0;
  const session: ExecSession = {
    finish: () => end.promise,
    writeStdin: (bytes) => Promise.resolve(void (seen.stdin += new TextDecoder().decode(bytes))),
    closeStdin: () => Promise.resolve(void (seen.stdin += "<end>")),
    resize: () => Promise.resolve(),
    signal: (name) => Promise.resolve(void seen.signals.push(name)),
    [Symbol.dispose]: () => end.resolve(-1),
  };
  const terminal: Terminal = {
    stdinIsTerminal: options.isTerminal ?? false,
    stdoutIsTerminal: options.isTerminal ?? false,
    stderrIsTerminal: false,
    type: "xterm",
    async readStdin(into) {
      while (keys.length === 0) {
        await wake.promise;
        wake = Promise.withResolvers();
      }
      const next = keys.shift()!;
      if (next === null) return null;
      into.set(next);
      return next.length;
    },
    writeStdout: () => Promise.resolve(),
    writeStderr: (bytes) => Promise.resolve(void (seen.stderr += new TextDecoder().decode(bytes))),
    setRaw: (raw) => seen.raw.push(raw),
    size: () => ({ rows: 24, columns: 80 }),
    onResize: () => ({ [Symbol.dispose]() {} }),
    onSignal: (name, handler) => {
      handlers.set(name, handler);
      return { [Symbol.dispose]: () => void handlers.delete(name) };
    },
  };
  const context = {
    terminal,
    clock: { monotonicMs: () => nowMs },
    guest: { exec: (_: unknown, start: ExecStart) => Promise.resolve((seen.start = start, session)) },
  } as unknown as Context;
  const run = (request: ExecRequest) => execInGuest(context, { kind: "hybrid", path: "/x" }, request);
  const type = async (text: string | null) => {
    keys.push(text === null ? null : new TextEncoder().encode(text));
    wake.resolve();
    await new Promise((resolve) => setTimeout(resolve, 1));
  };
  const later = () => new Promise((resolve) => setTimeout(resolve, 1));
  return {
    run,
    type,
    later,
    end,
    seen,
    interrupt: () => handlers.get("SIGINT")!(),
    handlers,
    pass: (ms: number) => nowMs += ms,
  };
}

Deno.test("stdin is passed on to its end, and the exit code comes back", async () => {
  const { run, type, end, seen, handlers } = fixture();
  const running = run({ argv: ["cat"], workingDirectory: "/x", environment: { A: "1" } });
  await type("hi");
  await type(null);
  end.resolve(7);
  assert.equal(await running, 7);
  assert.equal(seen.stdin, "hi<end>");
  assert.deepEqual(seen.start, { argv: ["cat"], env: { A: "1" }, cwd: "/x" });
  assert.equal(handlers.size, 0, "no handler stays behind");
});

Deno.test("signals are passed on; a second Ctrl-C leaves only within two seconds", async () => {
  const { run, later, seen, interrupt, pass } = fixture();
  const running = run({ argv: ["sleep", "9"] });
  await later();
  interrupt();
  pass(2500);
  interrupt();
  await later();
  assert.deepEqual(seen.signals, ["SIGINT", "SIGINT"]);
  pass(500);
  interrupt();
  assert.equal(await running, 130);
  assert.match(seen.stderr, /left the command/);
});

Deno.test("on a terminal keys are raw, and Ctrl-C is the guest's; a second one leaves a command", async () => {
  const { run, type, seen } = fixture({ isTerminal: true });
  const running = run({ argv: ["top"] });
  await type("q\u0003");
  await type("\u0003");
  assert.equal(await running, 130);
  assert.equal(seen.stdin.startsWith("q\u0003"), true);
  assert.deepEqual(seen.raw, [true, false], "the terminal is given back");
  assert.deepEqual(seen.start?.terminal, { rows: 24, columns: 80, term: "xterm" });
});

Deno.test("in a shell Ctrl-C is a key like any other", async () => {
  const { run, type, end } = fixture({ isTerminal: true });
  const running = run({ argv: [], isShell: true });
  for (let i = 0; i < 5; i++) await type("\u0003");
  end.resolve(0);
  assert.equal(await running, 0);
});
