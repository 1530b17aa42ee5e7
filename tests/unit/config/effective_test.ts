import assert from "node:assert/strict";
import { renderSettings, settings } from "../../../lib/config/effective.ts";
import { parseConfig } from "../../../lib/config/read.ts";
import { configSchema } from "../../../lib/config/schema.ts";

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

/** Every key of every table, with a value that is not the built-in one. */
const COMPLETE = `
[acp]
command = ["agent", "--stdio"]
[defaults]
image = "alpine:3.20"
kernel = "other"
cpus = 3
memory = "3G"
disk = "3G"
network = "none"
root_disk = "copy"
environment = { A = "1" }
[vmm]
driver = "qemu"
firecracker = "/usr/bin/firecracker"
jailer = true
[disks]
reserve = "1G"
[[file_sync]]
host = "~/.vimrc"
[agents]
credentials = []
[network]
allow = ["example.com"]
dns_port = 4242
[trash]
keep = "1h"
[registries]
insecure = ["a.lan"]
mirrors = []
`;

Deno.test("every key that the schema knows is shown, and told in docs/configuration.md", async () => {
  const documented = await Deno.readTextFile(new URL("../../../docs/configuration.md", import.meta.url));
  const shown = effective(COMPLETE);
  for (const [table, schema] of Object.entries(configSchema.shape)) {
    const inner = schema.unwrap();
    const keys = "shape" in inner ? Object.keys(inner.shape).map((key) => [table, key]) : [[table]];
    for (const path of keys) {
      const name = path.join(".");
      const found = shown.find((setting) => path.every((part, index) => setting.path[index] === part));
      assert.ok(
        found?.line !== undefined || name === "file_sync",
        `${name} is in the document above, and shown`,
      );
      assert.ok(documented.includes(`| \`${name}\` `), `${name} is documented`);
    }
  }
});
