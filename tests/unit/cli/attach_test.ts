import assert from "node:assert/strict";
import { attachToSession } from "../../../lib/cli/attach.ts";
import type { Context } from "../../../lib/cli/command.ts";
import type { AttachOptions, GuestSessions, SessionSink } from "../../../lib/cli/guest_sessions.ts";
import type { Terminal } from "../../../lib/base/terminal.ts";

const CTRL_BRACKET = 0x1d;

/** A session whose end the test gives, and a terminal whose keys it gives. */
function fixture({ isTerminal }: { isTerminal: boolean }) {
  const end = Promise.withResolvers<number | undefined>();
  const handlers = new Map<string, () => void>();
  const keys: (string | null)[] = [];
  let wake = Promise.withResolvers<void>();
  const seen = {
    stdin: "",
    stderr: "",
    raw: [] as boolean[],
    left: false,
    options: undefined as AttachOptions | undefined,
    sink: undefined as SessionSink | undefined,
  };
  const terminal: Terminal = {
    stdinIsTerminal: isTerminal,
    stdoutIsTerminal: isTerminal,
    stderrIsTerminal: isTerminal,
    type: "xterm",
    async readStdin(into) {
      while (keys.length === 0) {
        await wake.promise;
        wake = Promise.withResolvers();
      }
      const next = keys.shift()!;
      return next === null ? null : new TextEncoder().encodeInto(next, into).written;
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
  const sessions = {
    attach(_name: string, options: AttachOptions) {
      seen.options = options;
      return Promise.resolve({
        finish: (sink: SessionSink) => (seen.sink = sink, end.promise),
        writeStdin: (bytes: Uint8Array) =>
          Promise.resolve(void (seen.stdin += new TextDecoder().decode(bytes))),
        resize: () => Promise.resolve(),
        [Symbol.dispose]: () => void (seen.left = true),
      });
    },
  } as unknown as GuestSessions;
  const type = async (text: string | null) => {
    keys.push(text);
    wake.resolve();
    await new Promise((resolve) => setTimeout(resolve, 1));
  };
  const attach = (hasTerminal: boolean) =>
    attachToSession({ terminal } as unknown as Context, sessions, { name: "web", hasTerminal }, CTRL_BRACKET);
  return { attach, type, end, seen, interrupt: () => handlers.get("SIGINT")!() };
}

Deno.test("the detach key leaves a session on a terminal: what was typed before it goes along", async () => {
  const { attach, type, seen } = fixture({ isTerminal: true });
  const attached = attach(true);
  await type("ls\u0003");
  await type("ab\u001dcd");
  assert.equal(await attached, 0);
  assert.deepEqual([seen.stdin, seen.raw, seen.left], ["ls\u0003ab", [true, false], true]);
  assert.match(seen.stderr, /detached; session web goes on/);
  assert.deepEqual(seen.options?.size, { rows: 24, columns: 80 });
});

Deno.test("without a terminal of its own a session is left with Ctrl-C, and its input does not end", async () => {
  const { attach, type, seen, interrupt } = fixture({ isTerminal: true });
  const attached = attach(false);
  await type("a\u001db\n");
  await type(null);
  interrupt();
  assert.equal(await attached, 130);
  assert.deepEqual([seen.stdin, seen.raw, seen.left], ["a\u001db\n", [], true]);
  assert.equal(seen.options?.tailBytes, undefined);
});

Deno.test("a session's end is ours, and what is gone of its output is said", async () => {
  const { attach, end, seen } = fixture({ isTerminal: false });
  const attached = attach(true);
  await new Promise((resolve) => setTimeout(resolve, 1));
  await seen.sink!.lost(3 * 1024 * 1024);
  end.resolve(7);
  assert.equal(await attached, 7);
  assert.match(seen.stderr, /3 MiB of earlier output are no longer kept/);
  assert.deepEqual([seen.raw, seen.options?.size], [[], undefined]);
});

Deno.test("a guest that ends the output of a session that goes on is not believed", async () => {
  const { attach, end } = fixture({ isTerminal: false });
  end.resolve(undefined);
  await assert.rejects(attach(false), /ends its output too early/);
});
