import assert from "node:assert/strict";
import { PrintableStream } from "../../../lib/cli/printable_stream.ts";
import { parseDetachKey } from "../../../lib/cli/attach.ts";
import { BangerError } from "../../../lib/base/errors.ts";

const CASES: readonly (readonly [string, string, string])[] = [
  ["lines, tabs and colours stay", "a\tb\r\n\u001b[1;31mred\u001b[0m\n", "a\tb\n\u001b[1;31mred\u001b[0m\n"],
  ["the cursor is not moved, the screen not erased", "\u001b[2J\u001b[1;1Hx\u001b[?1049h", "x"],
  ["no clipboard, no title", "\u001b]52;c;ZXZpbA==\u0007x\u001b]0;title\u001b\\y", "xy"],
  ["no device is asked, no character set changed", "\u001bP+q544e\u001b\\a\u001b(0b\u001bcc", "abc"],
  ["controls become visible", "a\u0007\u0008b\u009b31mc\r", "a\ufffd\ufffdb\ufffd31mc\ufffd"],
  ["text is not turned around", "\u202eabc", "\ufffdabc"],
  ["UTF-8 stays", "grün 日本", "grün 日本"],
];

for (const [why, text, expected] of CASES) {
  Deno.test(`PrintableStream: ${why}, whatever the pieces`, () => {
    const bytes = new TextEncoder().encode(text);
    const whole = new PrintableStream().push(bytes);
    assert.equal(whole, expected);
    const stream = new PrintableStream();
    const inPieces = [...bytes].map((byte) => stream.push(Uint8Array.of(byte))).join("");
    // A line break whose halves come apart shows its first half.
    assert.equal(inPieces.replaceAll("\ufffd\n", "\n"), expected);
  });
}

Deno.test("PrintableStream: a sequence without an end is not kept forever", () => {
  const stream = new PrintableStream();
  assert.equal(stream.push(new TextEncoder().encode(`\u001b]52;${"A".repeat(100)}`)).length, 104);
  assert.equal(stream.push(new TextEncoder().encode("x")), "x");
});

Deno.test("parseDetachKey takes control keys and none", () => {
  assert.equal(parseDetachKey("ctrl-]"), 0x1d);
  assert.equal(parseDetachKey("Ctrl-A"), 1);
  assert.equal(parseDetachKey("none"), undefined);
  for (const text of ["", "x", "ctrl-", "ctrl-1", "ctrl-ab"]) {
    assert.throws(() => parseDetachKey(text), BangerError);
  }
});
