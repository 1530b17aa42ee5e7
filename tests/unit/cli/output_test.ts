import assert from "node:assert/strict";
import { age, fields, table, visible, visibleLines } from "../../../lib/cli/output.ts";

Deno.test("table() aligns columns and leaves no trailing spaces", () => {
  assert.equal(table(["NAME", "X"], [["a", "1"], ["longer", "22"]]), "NAME    X\na       1\nlonger  22");
});

Deno.test("fields() leaves undefined values out", () => {
  assert.equal(fields([["A", "1"], ["Long", undefined], ["Bcd", "2"]]), "A:   1\nBcd: 2");
});

Deno.test("what a guest says cannot steer the terminal", () => {
  const hostile = "a\u001b]52;c;aGk=\u0007b\u009b31mc\u202ed\r";
  // deno-lint-ignore no-control-regex
  const control = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202e]/;
  assert.doesNotMatch(visible(hostile), control);
  assert.doesNotMatch(visibleLines(`x\u001b[31mred\u001b[0m\r\n${hostile}\tend`), control);
  assert.equal(visibleLines("\u001b[32mok\u001b[0m\r\nnext\tcell\n"), "ok\nnext\tcell\n");
});

Deno.test("ages grow coarser", () => {
  const at = (seconds: number) => age(new Date(0).toISOString(), seconds * 1000);
  assert.deepEqual([5, 300, 10_000, 400_000].map(at), ["5 s", "5 min", "3 h", "5 days"]);
});
