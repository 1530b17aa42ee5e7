import assert from "node:assert/strict";
import { dirname, join } from "node:path";
import { parseCommandLine } from "../../../lib/cli/parse.ts";
import { bangerArguments, commandsOf, documentNames, readDocument } from "./document_commands.ts";

const root = new URL("../../..", import.meta.url).pathname;
/** Made from the commands themselves: its blocks are usages, not commands. */
const GENERATED = "docs/cli.md";

for (const name of await documentNames()) {
  if (name === GENERATED) continue;
  Deno.test(`${name}: every command that it shows is one`, async () => {
    const { commands, staleMarks } = commandsOf(name, await readDocument(name));
    const refused = commands.flatMap(({ line, text }) =>
      bangerArguments(text).flatMap((args) => {
        const parsed = parseCommandLine(args);
        return parsed.kind === "run" || parsed.exitCode === 0
          ? []
          : [`${name}:${line}: ${text}\n${parsed.text}`];
      })
    );
    assert.deepEqual(refused, []);
    assert.deepEqual(staleMarks, [], "a mark stands before no command that begins so");
  });

  Deno.test(`${name}: every task and every file that it names is there`, async () => {
    const text = await readDocument(name);
    const { tasks } = JSON.parse(await Deno.readTextFile(`${root}deno.json`)) as {
      tasks: Record<string, string>;
    };
    for (const [, task] of text.matchAll(/\b(?:deno task|scripts\/dev) ([a-z][\w:-]*)/g)) {
      assert.ok(task! in tasks, `deno task ${task}`);
    }
    for (const [, target] of text.matchAll(/\]\(([^)#\s]+)[^)]*\)/g)) {
      if (/^https?:/.test(target!)) continue;
      await Deno.stat(join(root, dirname(name), target!)).catch(() =>
        assert.fail(`${name} links to ${target}`)
      );
    }
  });
}

Deno.test("docs/README.md names every document", async () => {
  const index = await readDocument("docs/README.md");
  for (const name of await documentNames()) {
    const target = name.replace(/^docs\//, "");
    if (name.startsWith("docs/") && target !== "README.md") {
      assert.ok(index.includes(`(${target})`), `${target} is not in docs/README.md`);
    }
  }
});

Deno.test("commands of a document: blocks, comments, marks", () => {
  const text = [
    "<!-- not run: `banger vm ssh` needs a terminal -->",
    "<!-- not run: `banger nothing` is stale -->",
    "<!-- with VMs: `banger vm list` for ever -->",
    "```sh",
    "banger vm list   # all of them",
    "banger vm ssh web",
    "",
    "cd x && echo '#' | banger vm exec web -- cat",
    "```",
    "    banger ps",
    "<!-- with VMs: `banger vm list --j` until Ctrl-C -->",
    "<!-- with VMs: all of it -->",
    "```console",
    "$ banger vm exec web -- true",
    "$ banger vm list --json",
    "[]",
    "```",
    "```toml",
    'banger = "no"',
    "```",
  ].join("\n");
  const { commands, staleMarks } = commandsOf("a.md", text);
  assert.deepEqual(commands.map(({ text, notRun, withVms }) => [text, notRun ?? withVms]), [
    ["banger vm list", undefined],
    ["banger vm ssh web", "needs a terminal"],
    ["cd x && echo '#' | banger vm exec web -- cat", undefined],
    ["banger ps", undefined],
    ["banger vm exec web -- true", "by itself"],
    ["banger vm list --json", "until Ctrl-C"],
  ]);
  const [first, second, third, fourth] = commands;
  assert.equal(first!.paragraph, second!.paragraph);
  assert.notEqual(second!.paragraph, third!.paragraph);
  assert.equal(second!.block, third!.block);
  assert.notEqual(third!.block, fourth!.block);
  assert.deepEqual(staleMarks, ["a.md:3", "a.md:2"]);
  assert.deepEqual(bangerArguments("cd x && echo '#' | banger vm exec web -- sh -c 'a b'"), [
    ["vm", "exec", "web", "--", "sh", "-c", "a b"],
  ]);
  assert.deepEqual(bangerArguments('eval "$(banger completion bash)"'), [["completion", "bash"]]);
});
