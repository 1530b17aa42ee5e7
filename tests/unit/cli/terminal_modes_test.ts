import assert from "node:assert/strict";
import { TerminalModes } from "../../../lib/cli/terminal_modes.ts";

const undone = (pieces: readonly string[]) => {
  const modes = new TerminalModes();
  for (const piece of pieces) modes.watch(new TextEncoder().encode(piece));
  return modes.undo();
};

Deno.test("TerminalModes sets back what a program has set, whatever the pieces", () => {
  const vi = "\u001b[?1049h\u001b[?25lü\u001b[2J\u001b[?1;2004h";
  const expected = "\u001b[?1049l\u001b[?25h\u001b[?1l\u001b[?2004l\u001b[0m";
  assert.equal(undone([vi]), expected);
  assert.equal(undone([...vi]), expected);
});

Deno.test("TerminalModes leaves a terminal alone that is as it was", () => {
  assert.equal(undone(["plain text\r\n", "\u001b[31mred\u001b[0m"]), "");
  assert.equal(undone(["\u001b[?1049h", "\u001b[?25l", "\u001b[?25h\u001b[?1049l"]), "");
  assert.equal(undone(["\u001b[?12345h\u001b[?", "x"]), "");
});
