import assert from "node:assert/strict";
import { parseFeatures } from "../../../scripts/kernel/features.ts";

Deno.test("parseFeatures() reads verdicts from a console, and passes over all else", () => {
  const text = "[    0.1] Linux\r\nok\text4\tmounted\t12\r\nMISSING\tfuse\r\nmaybe\tx\ty\nok\n";
  assert.deepEqual(parseFeatures(text), [
    { verdict: "ok", name: "ext4", seen: "mounted" },
    { verdict: "MISSING", name: "fuse", seen: "" },
  ]);
});
