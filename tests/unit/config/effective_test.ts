import assert from "node:assert/strict";
import { renderSettings, settings } from "../../../lib/config/effective.ts";
import { parseConfig } from "../../../lib/config/read.ts";

function effective(text: string) {
  const parsed = parseConfig(text);
  assert.ok("config" in parsed);
  return settings(parsed.config, parsed.lines);
}

Deno.test("each setting says where it comes from", () => {
  const shown = renderSettings(
    effective('[defaults]\n\ncpus = 4\n[defaults.environment]\nA = "b\\"\\u001b"\n'),
  );
  assert.match(shown, /^cpus = 4 {2}# line 3$/m);
  assert.match(shown, /^memory = "2G" {2}# built in$/m);
  assert.match(shown, /^A = "b\\"\\u001b" {2}# line 5$/m);
  assert.match(shown, /^keep = "7d" {2}# built in$/m);
});

Deno.test("what is shown is a configuration that means the same", () => {
  const text = `[defaults]
image = "alpine:3.20"
memory = "1.5G"
disk = "123456789b"
[trash]
keep = "90s"
[registries]
insecure = ["a.lan:5000"]
[[registries.mirrors]]
prefix = "docker.io"
location = "b.lan/hub"
`;
  const before = effective(text);
  const after = effective(renderSettings(before));
  assert.deepEqual(
    after.map(({ path, value }) => [path, value]),
    before.map(({ path, value }) => [path, value]),
  );
});
