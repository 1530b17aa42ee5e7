import assert from "node:assert/strict";
import { AGENT_WRAPPER } from "../../../lib/guest/files/agent_runtime.ts";
import { AGENT_PATH, GUEST_TEXTS } from "../../../lib/guest/files/inject.ts";
import { requireTools, run, temporaryDirectory, write } from "./tools.ts";

const SCRIPTS = [...GUEST_TEXTS, { path: AGENT_PATH, text: AGENT_WRAPPER }]
  .filter(({ text }) => text.startsWith("#!"));

Deno.test("the guest's scripts are what shellcheck accepts", async () => {
  await requireTools("shellcheck");
  assert.equal(SCRIPTS.length, 4);
  await using directory = await temporaryDirectory();
  for (const { path, text } of SCRIPTS) {
    const file = `${directory.path}/${path.split("/").at(-1)}`;
    await write(file, text);
    const { code, stdout } = await run("shellcheck", ["--severity=style", file]);
    assert.equal(code, 0, stdout);
  }
});

Deno.test("the guest's units are what systemd accepts", async () => {
  await requireTools("systemd-analyze");
  await using directory = await temporaryDirectory();
  const root = directory.path;
  // Their programs are not on this host; they are where the units say inside this root.
  for (const { path, mode, text } of GUEST_TEXTS) await write(`${root}${path}`, text, mode);
  const units = GUEST_TEXTS.map(({ path }) => path).filter((path) => path.endsWith(".service"));
  assert.equal(units.length, 3);
  for (const path of units) {
    const file = `${root}/${path.split("/").at(-1)}`;
    const text = await Deno.readTextFile(root + path);
    await write(file, text.replace(/^ExecStart=.*$/m, "ExecStart=/bin/true"));
    const { code, stderr } = await run("systemd-analyze", ["verify", "--man=no", file]);
    assert.deepEqual({ code, stderr }, { code: 0, stderr: "" });
  }
});
