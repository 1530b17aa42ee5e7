import assert from "node:assert/strict";
import type { ByteString } from "../../../lib/base/tree.ts";
import { planTools } from "../../../lib/workspace/tools.ts";

/** A tree of a few texts. */
function treeOf(files: Readonly<Record<string, string>>): Parameters<typeof planTools>[0] {
  const bytes = (path: ByteString) => new TextEncoder().encode(files[path] ?? "");
  const stat = (path: ByteString) =>
    ({ kind: "file", mode: 0o644, sizeBytes: bytes(path).length, mtimeSeconds: 0 }) as const;
  return {
    find: (path) => path in files ? stat(path) : undefined,
    open(path) {
      let rest: Uint8Array = bytes(path);
      return {
        stat: stat(path),
        read(into) {
          const part = rest.subarray(0, into.length);
          into.set(part);
          rest = rest.subarray(part.length);
          return part.length;
        },
        [Symbol.dispose]() {},
      };
    },
  };
}

const CASES: readonly (readonly [files: Record<string, string>, tools: string])[] = [
  [{}, ""],
  [{ "go.mod": "module x\n\ngo 1.22.0\n\nrequire go 9.9\n" }, "go@1.22.0"],
  [{ "go.mod": "module x\ngo 1.21\ntoolchain go1.22.3\n" }, "go@1.22.3"],
  [{ ".nvmrc": "v20.11.1\n" }, "node@20.11.1"],
  [{ ".nvmrc": "lts/iron\n" }, "node@lts"],
  [{ ".node-version": "# which\n18\n" }, "node@18"],
  [{
    "package.json":
      '{"engines":{"node":">=18.2 <21","pnpm":"^8.1.0"},"packageManager":"pnpm@8.6.1+sha256.0"}',
  }, "node@18.2 pnpm@8.6.1"],
  [{ "package.json": '{"engines":{"node":"^20.1.2"}}' }, "node@20"],
  [{ "package.json": '{"engines":{"node":"20.1.2 || 22"}}' }, "node@20.1"],
  [{ "package.json": '{"engines":{"node":"<20"}}' }, ""],
  [{ "package.json": "{broken" }, ""],
  [{ ".python-version": "3.12.1\n" }, "python@3.12.1"],
  [{ "pyproject.toml": '[project]\nrequires-python = ">=3.11"\n' }, "python@3.11"],
  [{ "pyproject.toml": '[tool.poetry.dependencies]\npython = "^3.10"\n' }, "python@3"],
  [{ "pyproject.toml": "[broken" }, ""],
  [{ "rust-toolchain": "nightly-2024-01-01\n" }, "rust@nightly-2024-01-01"],
  [{ "rust-toolchain.toml": '[toolchain]\nchannel = "1.80.1"\n' }, "rust@1.80.1"],
  [{ ".tool-versions": "nodejs 20.1.0 18\ngolang 1.22 # c\n\nerlang\n" }, "node@20.1.0 go@1.22"],
  [
    { "mise.toml": '[tools]\nnode = "22"\ngo = ["1.22", "1.21"]\n"npm:prettier" = { version = "3" }\n' },
    "node@22 go@1.22 npm:prettier@3",
  ],
  [{ "mise.toml": '[tools]\nnode = "22"\n', ".nvmrc": "18", ".tool-versions": "nodejs 16\n" }, "node@22"],
  // What would be more than a name and a version.
  [{ ".tool-versions": "$(x) 1\nnode $(x)\nnode 1;2\n-x 1\nnode -1\ngo ../1\n" }, ""],
  [{ ".nvmrc": "`id`" }, ""],
  [{ "mise.toml": '[tools]\nnode = "--evil"\n' }, ""],
];

for (const [files, tools] of CASES) {
  Deno.test(`planTools() of ${JSON.stringify(files).slice(0, 80)}`, async () => {
    const pins = await planTools(treeOf(files));
    assert.equal(pins.map(({ tool, version }) => `${tool}@${version}`).join(" "), tools);
  });
}
