import assert from "node:assert/strict";
import { BangerError } from "../../../lib/base/errors.ts";
import { parseStats } from "../../../lib/guest/wire/stats.ts";

const GOOD = {
  memory: { totalBytes: 1000, availableBytes: 10 },
  load: [0.5, 0, 1],
  processes: 12,
  filesystems: [{ path: "/", totalBytes: 5, availableBytes: 4 }],
};
const encode = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));

Deno.test("a guest's word of its load is read", () => {
  assert.deepEqual(parseStats(encode(GOOD)), GOOD);
});

for (
  const [field, value] of [
    ["memory", null],
    ["memory", { totalBytes: -1, availableBytes: 0 }],
    ["memory", { totalBytes: 1e30, availableBytes: 0 }],
    ["load", [1, 2]],
    ["load", ["a", 1, 2]],
    ["load", [-1, 1, 2]],
    ["processes", "many"],
    ["filesystems", [{ path: "/\u001b[2J", totalBytes: 1, availableBytes: 1 }]],
    ["filesystems", Array.from({ length: 1000 }, () => GOOD.filesystems[0])],
    ["filesystems", [null]],
  ] as const
) {
  Deno.test(`a guest's load with ${field} ${JSON.stringify(value).slice(0, 40)} is refused`, () => {
    assert.throws(
      () => parseStats(encode({ ...GOOD, [field]: value })),
      (thrown) =>
        thrown instanceof BangerError && thrown.code === "corrupt_data" && thrown.message.includes(field),
    );
  });
}
