import assert from "node:assert/strict";
import { BangerError } from "../../../lib/base/errors.ts";
import type { Files } from "../../../lib/base/host.ts";
import { parseConfig, readConfig } from "../../../lib/config/read.ts";

function read(text: string | undefined) {
  const files = {
    stat: () => Promise.resolve(text === undefined ? undefined : {}),
    readText: () => Promise.resolve(text),
  } as unknown as Files;
  return readConfig(files, "/config.toml");
}

const EMPTY = {
  defaults: {},
  vmm: {},
  disks: {},
  file_sync: [],
  acp: {},
  agents: { credentials: [] },
  network: { allow: ["*"], dns_port: 42069 },
  trash: {},
  registries: { insecure: [], mirrors: [] },
};

Deno.test("readConfig() takes a missing file for an empty one", async () => {
  assert.deepEqual(await read(undefined), EMPTY);
  assert.deepEqual(await read("# nothing yet\n"), EMPTY);
  assert.deepEqual(await read("[registries]\n"), EMPTY);
});

Deno.test("readConfig() reads mirrors and insecure registries", async () => {
  const text = `[registries]
insecure = ["registry.lan:5000"]

[[registries.mirrors]]
prefix = "docker.io"
location = "mirror.lan:5000/hub"
`;
  assert.deepEqual(await read(text), {
    ...EMPTY,
    registries: {
      insecure: ["registry.lan:5000"],
      mirrors: [{ prefix: "docker.io", location: "mirror.lan:5000/hub" }],
    },
  });
});

for (
  const [text, why] of [
    ["[registries", /line 1: it is no TOML/],
    ["a = 1\na = 2", /line 2: it is no TOML/],
    ["\ncolour = 1", /line 2: colour: there is no such key/],
    ["[registries]\ninsecur = []", /line 2: registries\.insecur: there is no such key/],
    ['[registries]\ninsecure = [\n"http://x"]', /line 3: registries\.insecure\.0: .*without a scheme/],
    [
      "[[registries.mirrors]]\nlocation = 'a'\nprefix = 1",
      /line 3: registries\.mirrors\.0\.prefix: expected string/,
    ],
    ["[[registries.mirrors]]\nprefix = 'a'", /line 1: registries\.mirrors\.0\.location: it is missing/],
    ["[defaults]\n\ncpus = '2'", /line 3: defaults\.cpus: expected number, received string/],
    ["[defaults]\ncpus = 0", /line 2: defaults\.cpus/],
    ["[defaults]\nmemory = 2048", /line 2: defaults\.memory: expected string/],
    ["[defaults]\nmemory = '2X'", /line 2: defaults\.memory: Cannot use "2X" as a size/],
    ["[defaults]\nmemory = '1M'", /line 2: defaults\.memory: 128 MiB is the least/],
    ["[defaults]\ndisk = '1M'", /line 2: defaults\.disk: 64 MiB is the least/],
    ["[defaults]\nnetwork = 'bridge0'", /line 2: defaults\.network/],
    ["[defaults]\nimage = ''", /line 2: defaults\.image/],
    ["[defaults.environment]\nA = 'x'\n'b c' = 'y'", /line 3: defaults\.environment\."b c"/],
    ["defaults = { cpus = 1,\n colour = 2 }", /line 2: defaults\.colour/],
    ["[trash]\nkeep = 'a week'", /line 2: trash\.keep: Cannot use "a week" as a length of time/],
  ] as const
) {
  Deno.test(`readConfig() refuses ${JSON.stringify(text)}`, async () => {
    await assert.rejects(read(text), (thrown) => {
      assert.ok(thrown instanceof BangerError);
      assert.match(thrown.message, why);
      return thrown.code === "invalid_argument" && thrown.hint !== undefined;
    });
  });
}

Deno.test("every problem is found, in the order of the lines, and the first one's refusal counts the others", async () => {
  const parsed = parseConfig("[trash]\nkeep = 1\n[defaults]\ncpus = 'x'\ncolour = 1\n");
  assert.ok("problems" in parsed);
  assert.deepEqual(parsed.problems.map(({ line, key }) => [line, key]), [
    [2, "trash.keep"],
    [4, "defaults.cpus"],
    [5, "defaults.colour"],
  ]);
  assert.match(parsed.problems[2]!.hint!, /\[defaults\] knows: image, kernel, cpus/);
  await assert.rejects(
    read("[trash]\nkeep = 1\nx = 1\n"),
    (thrown) =>
      thrown instanceof BangerError && /There is more \(1\): banger config check/.test(thrown.hint!),
  );
});

Deno.test("defaults are read as what they mean", async () => {
  const { defaults, trash } = await read(
    `[defaults]\nmemory = "1.5G"\ndisk = "20G"\n[defaults.environment]\nEDITOR = "vi"\n[trash]\nkeep = "12h"`,
  );
  assert.deepEqual(defaults, { memory: 1536, disk: 20 * 1024 ** 3, environment: { EDITOR: "vi" } });
  assert.deepEqual(trash, { keep: 12 * 3_600_000 });
});
