import assert from "node:assert/strict";
import { COMMANDS, NOUNS } from "../../../lib/cli/commands/all.ts";
import { complete, parseFlags } from "../../../lib/cli/completion.ts";

const NAMES: Record<string, string[]> = {
  vm: ["web", "worker", "db"],
  "vm-path": ["web", "worker", "db"],
  "removed-vm": ["old"],
  image: ["alpine-3.20", "debian-bookworm"],
  kernel: ["debian"],
  operation: ["0a1b2c3d"],
};

async function answers(line: string): Promise<string[]> {
  const words = line.split(" ").slice(1);
  const { candidates, wantsFiles } = await complete(
    COMMANDS,
    NOUNS,
    words,
    (what) => Promise.resolve(NAMES[what]!.map((text) => ({ text }))),
  );
  return [...candidates.map(({ text }) => text), ...(wantsFiles ? ["<files>"] : [])];
}

for (
  const [line, expected] of [
    ["banger v", ["vm", "version"]],
    ["banger conf", ["config"]],
    ["banger vm sess", ["session"]],
    ["banger vm res", ["restart", "restore"]],
    ["banger vm start ", ["web", "worker", "db"]],
    ["banger vm start w", ["web", "worker"]],
    ["banger vm stop web w", ["worker"]],
    ["banger vm stop --force w", ["web", "worker"]],
    ["banger vm restore ", ["old"]],
    ["banger vm create --image al", ["alpine-3.20"]],
    ["banger vm create -i al", ["alpine-3.20"]],
    ["banger vm create --image=al", ["--image=alpine-3.20"]],
    ["banger vm create --network ", ["user", "bridge", "none"]],
    ["banger vm create --network=n", ["--network=none"]],
    ["banger vm create --cpus ", []],
    ["banger vm create --name x --cp", ["--cpus"]],
    ["banger vm create --cpus 3 --cpu", []],
    ["banger vm create -e A=1 --en", ["--env"]],
    ["banger vm show web ", []],
    ["banger image rm de", ["debian-bookworm"]],
    ["banger kernel show ", ["debian"]],
    ["banger operation cancel ", ["0a1b2c3d"]],
    ["banger completion ", ["bash", "zsh", "fish"]],
    ["banger completion z", ["zsh"]],
    ["banger exec w", ["web", "worker"]],
    ["banger exec web -- ls w", []],
    ["banger nonsense ", []],
    ["banger vm nonsense ", []],
    ["banger vm exec web --", ["--user", "--workdir", "--env", "--tty", "--no-tty", "--help", "--"]],
  ] as const
) {
  Deno.test(`${line}<Tab> offers ${expected.join(" ") || "nothing"}`, async () => {
    assert.deepEqual(await answers(line), expected);
  });
}

Deno.test("all nouns and short cuts are offered, nothing hidden", async () => {
  const offered = await answers("banger ");
  for (
    const word of [
      ...Object.keys(NOUNS).filter((noun) => !noun.includes(" ")),
      "run",
      "ps",
      "ssh",
      "exec",
      "completion",
      "help",
    ]
  ) {
    assert.ok(offered.includes(word), word);
  }
  assert.ok(!offered.some((word) => word.startsWith("_")));
});

Deno.test("every verb of every noun is offered, and every option of every command", async () => {
  for (const { path, options = [], hidden } of COMMANDS) {
    if (hidden) continue;
    assert.ok((await answers(`banger ${path.join(" ")}`)).includes(path.at(-1)!), path.join(" "));
    const offered = await answers(`banger ${path.join(" ")} -`);
    for (const { flags } of options) {
      const long = parseFlags(flags).names.at(-1)!;
      assert.ok(offered.includes(long), `${path.join(" ")} ${long}`);
    }
  }
});
