import assert from "node:assert/strict";
import { BangerError } from "../../../lib/base/errors.ts";
import { formatBytes, formatDuration, parseSizeBytes } from "../../../lib/base/units.ts";

for (
  const [text, bytes] of [
    ["1", 1],
    ["512M", 512 * 2 ** 20],
    ["2G", 2 * 2 ** 30],
    ["1.5GiB", 1.5 * 2 ** 30],
    ["10 kb", 10240],
    ["1t", 2 ** 40],
  ] as const
) {
  Deno.test(`parseSizeBytes() reads ${text}`, () => assert.equal(parseSizeBytes(text), bytes));
}

for (const text of ["", "0", "-1", "1e9", "NaN", "1X", "G", "0.0001k", "99999999T", "1 2"]) {
  Deno.test(`parseSizeBytes() refuses ${JSON.stringify(text)}`, () => {
    assert.throws(() => parseSizeBytes(text), BangerError);
  });
}

Deno.test("sizes and durations read well", () => {
  assert.deepEqual([0, 1023, 1024, 1536, 2 ** 30, 350 * 2 ** 20].map(formatBytes), [
    "0 B",
    "1023 B",
    "1 KiB",
    "1.5 KiB",
    "1 GiB",
    "350 MiB",
  ]);
  assert.deepEqual([400, 12_000, 180_000, 7_200_000, 432_000_000].map(formatDuration), [
    "0.4 s",
    "12 s",
    "3 min",
    "2 h",
    "5 days",
  ]);
});
