import assert from "node:assert/strict";
import { BangerError } from "../../../lib/base/errors.ts";
import { LineSplitter } from "../../../lib/guest/client/line_splitter.ts";
import { parseGuestPorts } from "../../../lib/guest/wire/ports.ts";

const encode = (value: unknown) =>
  new TextEncoder().encode(typeof value === "string" ? value : JSON.stringify(value));

Deno.test("parseGuestPorts() takes what the agent tells, in order", () => {
  const listeners = [{ port: 3000, address: "::1" }, { port: 22, address: "0.0.0.0" }];
  assert.deepEqual(parseGuestPorts(encode({ listeners })), {
    listeners: [listeners[1], listeners[0]],
    truncated: false,
  });
});

const entry = (change: Record<string, unknown>) => ({
  listeners: [{ port: 1, address: "0.0.0.0", ...change }],
});
const HOSTILE: readonly unknown[] = [
  "",
  "[]",
  "null",
  "{",
  {},
  { listeners: {} },
  { listeners: [1] },
  { listeners: [null] },
  entry({ port: 0 }),
  entry({ port: 65536 }),
  entry({ port: 1.5 }),
  entry({ port: "80" }),
  entry({ port: -1 }),
  entry({ address: undefined }),
  entry({ address: "web" }),
  entry({ address: "127.0.0.1; rm" }),
  entry({ address: "\u001b[31m" }),
  entry({ address: "0".repeat(100) }),
  { listeners: [{ port: 5, address: "::" }, { port: 5, address: "::1" }] },
  { listeners: Array.from({ length: 513 }, (_, index) => ({ port: index + 1, address: "::" })) },
];
for (const [index, value] of HOSTILE.entries()) {
  Deno.test(`parseGuestPorts() refuses nonsense ${index}`, () => {
    assert.throws(() => parseGuestPorts(encode(value)), BangerError);
  });
}

Deno.test("LineSplitter cuts bytes that come in any pieces, and bounds a line", () => {
  const whole = encode("one\n\ntwo\nthree");
  for (let size = 1; size <= whole.length; size++) {
    const splitter = new LineSplitter(10);
    const lines: string[] = [];
    for (let at = 0; at < whole.length; at += size) {
      for (const line of splitter.push(whole.subarray(at, at + size))) {
        lines.push(new TextDecoder().decode(line));
      }
    }
    assert.deepEqual(lines, ["one", "", "two"]);
  }
  assert.throws(() => new LineSplitter(10).push(encode("x".repeat(11))), BangerError);
  assert.throws(() => new LineSplitter(10).push(encode(`${"x".repeat(11)}\n`)), BangerError);
});
