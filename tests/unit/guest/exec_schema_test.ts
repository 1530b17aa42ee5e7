import { deepEqual, equal, throws } from "node:assert/strict";
import { BangerError } from "../../../lib/base/errors.ts";
import {
  encodeTerminalSize,
  encodeWindow,
  exitCodeOf,
  parseExecFailure,
  parseExecStart,
  parseExitStatus,
  parseSignalName,
  parseStartedPid,
  parseTerminalSize,
  parseWindow,
} from "../../../lib/guest/wire/exec.ts";
import { parseHealth } from "../../../lib/guest/wire/health.ts";

const encode = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));

function refuses(code: string, act: () => unknown): void {
  throws(act, (failure) => failure instanceof BangerError && failure.code === code);
}

Deno.test("parseExecStart() takes a whole request, and leaves out what it does not know", () => {
  const start = {
    argv: ["sh", "-c", ""],
    cwd: "/root/repo",
    env: { A: "1", EMPTY: "" },
    terminal: { rows: 24, columns: 80, term: "xterm-256color" },
  };
  deepEqual(parseExecStart({ ...start, later: 1 }), start);
  deepEqual(parseExecStart({ argv: [] }), { argv: [] });
});

for (
  const [value, why] of [
    [null, "null"],
    [[], "a list"],
    [{}, "no argv"],
    [{ argv: "ls" }, "argv as text"],
    [{ argv: [1] }, "a number in argv"],
    [{ argv: ["a\0b"] }, "a NUL in argv"],
    [{ argv: ["x".repeat(200_000)] }, "an argument that Linux would not take"],
    [{ argv: Array(20_000).fill("x") }, "20,000 arguments"],
    [{ argv: ["a"], cwd: "relative" }, "a relative directory"],
    [{ argv: ["a"], cwd: "/\0" }, "a NUL in the directory"],
    [{ argv: ["a"], env: { "A=B": "1" } }, "= in a variable's name"],
    [{ argv: ["a"], env: { "": "1" } }, "a variable without a name"],
    [{ argv: ["a"], env: { A: 1 } }, "a number as a variable"],
    [{ argv: ["a"], terminal: { rows: 0, columns: 80, term: "x" } }, "a terminal without rows"],
    [{ argv: ["a"], terminal: { rows: 24, columns: 70_000, term: "x" } }, "too many columns"],
    [{ argv: ["a"], terminal: { rows: 24, columns: 80, term: "../x" } }, "a terminal type that is a path"],
    [{ argv: ["a"], terminal: { rows: 24, columns: 80 } }, "no terminal type"],
  ] as const
) {
  Deno.test(`parseExecStart() refuses ${why}`, () =>
    refuses("invalid_argument", () => parseExecStart(value)));
}

Deno.test("terminal sizes and windows survive their encoding", () => {
  deepEqual(parseTerminalSize(encodeTerminalSize({ rows: 1, columns: 65535 })), { rows: 1, columns: 65535 });
  equal(parseWindow(encodeWindow(524_288)), 524_288);
  for (const payload of [new Uint8Array(0), new Uint8Array(3), new Uint8Array(4), new Uint8Array(5)]) {
    refuses("corrupt_data", () => parseTerminalSize(payload));
  }
  refuses("corrupt_data", () => parseWindow(new Uint8Array(3)));
});

Deno.test("parseSignalName() knows signals and nothing of an object's own", () => {
  equal(parseSignalName(new TextEncoder().encode("SIGINT")), "SIGINT");
  for (const name of ["", "INT", "2", "toString", "constructor", "SIGINT\0", "S".repeat(1000)]) {
    refuses("corrupt_data", () => parseSignalName(new TextEncoder().encode(name)));
  }
});

Deno.test("a command's end has a code or a signal", () => {
  equal(exitCodeOf(parseExitStatus(encode({ code: 7 }))), 7);
  equal(exitCodeOf(parseExitStatus(encode({ signal: 9 }))), 137);
  for (
    const value of [{}, { code: -1 }, { code: 256 }, { code: "0" }, { code: 0.5 }, { signal: 0 }, [], null, 1]
  ) {
    refuses("corrupt_data", () => parseExitStatus(encode(value)));
  }
  refuses("corrupt_data", () => parseExitStatus(Uint8Array.of(0xff, 0xfe)));
});

Deno.test("what a guest says of a failure reaches no terminal as it is", () => {
  const { error, exitCode } = parseExecFailure(encode({
    error: { code: "not_found", message: "Cannot run \x1b]52;c;eA==\x07: \u202egnp", hint: "a\nb" },
    exitCode: 127,
  }));
  equal(exitCode, 127);
  equal(error.code, "not_found");
  equal(error.message, "Cannot run \ufffd]52;c;eA==\ufffd: \ufffdgnp");
  equal(error.hint, "a\ufffdb");
  const long = parseExecFailure(
    encode({ error: { code: "internal", message: "x".repeat(9000) }, exitCode: 1 }),
  );
  equal(long.error.message.length, 1001);
  equal(parseExecFailure(encode({ error: { code: "nonsense" }, exitCode: 1 })).error.code, "internal");
  refuses("corrupt_data", () => parseExecFailure(encode({ error: {}, exitCode: 0 })));
  refuses("corrupt_data", () => parseStartedPid(encode({ pid: 0 })));
});

const HEALTH = {
  status: "ok",
  version: "0.1.0",
  commit: "abcdef0-dirty",
  bootId: "00e688c9-c73f-44c7-8e08-5a8a9e595f6c",
  uptimeSeconds: 1.5,
  pid: 101,
};

Deno.test("parseHealth() takes an agent's answer", () => {
  deepEqual(parseHealth(encode({ ...HEALTH, more: true })), HEALTH);
});

for (
  const [change, why] of [
    [{ status: "bad" }, "another status"],
    [{ version: "\x1b[31m" }, "an escape sequence as version"],
    [{ commit: "x".repeat(65) }, "a long commit"],
    [{ bootId: "00E688C9-c73f-44c7-8e08-5a8a9e595f6c" }, "a boot id that is none"],
    [{ uptimeSeconds: -1 }, "a negative uptime"],
    [{ uptimeSeconds: null }, "no uptime"],
    [{ pid: 0 }, "pid 0"],
    [{ pid: 1.5 }, "half a pid"],
  ] as const
) {
  Deno.test(`parseHealth() refuses ${why}`, () => {
    refuses("corrupt_data", () => parseHealth(encode({ ...HEALTH, ...change })));
  });
}
