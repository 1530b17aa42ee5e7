import assert from "node:assert/strict";
import { BangerError } from "../../../lib/base/errors.ts";
import { inventVmName, parseImageName, parseVmName, quote } from "../../../lib/base/names.ts";

for (const name of ["a", "web", "web-1", "x".repeat(63)]) {
  Deno.test(`parseVmName() takes ${name.slice(0, 10)}`, () => assert.equal(parseVmName(name), name));
}

for (
  const [name, why] of [
    ["", "empty"],
    ["Web", "upper case"],
    ["1web", "a digit first"],
    ["-web", "a hyphen first"],
    ["web-", "a hyphen last"],
    ["a.b", "a dot"],
    ["a/b", "a slash"],
    ["a b", "a space"],
    ["ü", "a letter outside ASCII"],
    ["x".repeat(64), "64 letters"],
    ["a\n", "a line break"],
  ] as const
) {
  Deno.test(`parseVmName() refuses ${why}`, () => {
    assert.throws(
      () => parseVmName(name),
      (thrown) => thrown instanceof BangerError && thrown.code === "invalid_argument",
    );
  });
}

Deno.test("image names may hold dots, and never a path", () => {
  assert.equal(parseImageName("debian-12.5_x"), "debian-12.5_x");
  for (const name of ["..", "a/b", ".x", "x."]) assert.throws(() => parseImageName(name), BangerError);
});

Deno.test("quote() lets no escape sequence and no bidirectional override through", () => {
  // deno-lint-ignore no-control-regex
  assert.doesNotMatch(quote("a\u001b[31m\u0007\u009b\u202e\n"), /[\u0000-\u001f\u007f-\u009f\u202e]/);
  assert.ok(quote("x".repeat(1000)).length < 120);
});

Deno.test("inventVmName() avoids names that are taken, however many are", () => {
  const taken = new Set<string>();
  let seed = 1;
  const random = () => (seed = (seed * 16807) % 2147483647) / 2147483647;
  for (let i = 0; i < 3000; i++) {
    const name = inventVmName(random, (candidate) => taken.has(candidate));
    assert.ok(!taken.has(name));
    assert.equal(parseVmName(name), name);
    taken.add(name);
  }
});
