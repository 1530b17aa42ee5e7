/**
 * What the documents show is run as it stands there, by a shell; what needs VMs, by tests/smoke/85_documents_test.ts.
 * What is not run says why beside it (tests/unit/docs/document_commands.ts), and this prints it.
 */
import assert from "node:assert/strict";
import { commandsOf, documentNames, readDocument } from "../../unit/docs/document_commands.ts";

const BIN = new URL("../../../build/bin", import.meta.url).pathname;

async function shell(text: string, home: string): Promise<{ code: number; output: string }> {
  const { code, stdout, stderr } = await new Deno.Command("bash", {
    args: ["-c", `set -eo pipefail; ${text}`],
    cwd: home,
    env: { HOME: home, PATH: `${BIN}:${Deno.env.get("PATH")}`, TERM: "dumb", LANG: "C.UTF-8" },
    clearEnv: true,
    stdin: "null",
    signal: AbortSignal.timeout(60_000),
  }).output();
  return { code, output: new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr) };
}

Deno.test("commands in documents run as they are shown", async () => {
  const home = await Deno.makeTempDir({ prefix: "banger-documents-" });
  const reasons = new Map<string, number>();
  let count = 0;
  try {
    for (const name of await documentNames()) {
      if (name === "docs/cli.md") continue;
      for (const { line, text, notRun, withVms } of commandsOf(name, await readDocument(name)).commands) {
        if (notRun !== undefined) {
          const what = `${name}: ${notRun}`;
          reasons.set(what, (reasons.get(what) ?? 0) + 1);
          continue;
        }
        if (withVms !== undefined) continue;
        const { code, output } = await shell(text, home);
        assert.equal(code, 0, `${name}:${line}: ${text}\n${output}`);
        count++;
      }
    }
    assert.ok(count >= 10, `only ${count} commands were run`);
    for (const [what, commands] of reasons) console.log(`not run (${commands}): ${what}`);
  } finally {
    await shell("banger daemon stop --force", home);
    await Deno.remove(home, { recursive: true });
  }
});
