import assert from "node:assert/strict";
import { BangerError } from "../../../lib/base/errors.ts";
import type { Files } from "../../../lib/base/host.ts";
import { readConfigFile } from "../../../lib/daemon/config_file.ts";

function read(text: string | undefined) {
  const files = {
    stat: () => Promise.resolve(text === undefined ? undefined : {}),
    readText: () => Promise.resolve(text),
  } as unknown as Files;
  return readConfigFile(files, "/config.toml");
}

const EMPTY = { insecure: [], mirrors: [] };

Deno.test("readConfigFile() takes a missing file for an empty one", async () => {
  for (const text of [undefined, "# nothing yet\n", "[registries]\n"]) {
    assert.deepEqual((await read(text)).registries, EMPTY);
  }
});

Deno.test("readConfigFile() reads mirrors and insecure registries", async () => {
  const text = `[registries]
insecure = ["registry.lan:5000"]

[[registries.mirrors]]
prefix = "docker.io"
location = "mirror.lan:5000/hub"
`;
  assert.deepEqual((await read(text)).registries, {
    insecure: ["registry.lan:5000"],
    mirrors: [{ prefix: "docker.io", location: "mirror.lan:5000/hub" }],
  });
});

for (
  const [text, why] of [
    ["[registries", /line 1 is no TOML/],
    ["colour = 1", /colour/],
    ["[registries]\ninsecur = []", /insecur/],
    ['[registries]\ninsecure = ["http://x"]', /without a scheme/],
    ["[[registries.mirrors]]\nprefix = 1", /registries\.mirrors\.0\.prefix/],
  ] as const
) {
  Deno.test(`readConfigFile() refuses ${JSON.stringify(text)}`, async () => {
    await assert.rejects(read(text), (thrown) => {
      assert.ok(thrown instanceof BangerError);
      assert.match(thrown.message, why);
      return thrown.code === "invalid_argument" && thrown.hint !== undefined;
    });
  });
}
