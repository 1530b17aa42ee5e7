import assert from "node:assert/strict";
import { DAEMON_UNIT_COMMANDS, daemonUnit } from "../../../lib/cli/commands/daemon_unit.ts";
import type { Context } from "../../../lib/cli/command.ts";
import { realHost } from "../../../lib/sys/host.ts";

const [unit] = DAEMON_UNIT_COMMANDS;

async function run(home: string, options: Record<string, boolean>) {
  const said = { stdout: "", stderr: "" };
  const decode = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  const context = {
    executable: "/opt/a b/banger",
    environment: (name: string) => ({ HOME: home, PATH: "/usr/bin" } as Record<string, string>)[name],
    unitFiles: realHost().files,
    terminal: {
      writeStdout: (bytes: Uint8Array) => Promise.resolve(void (said.stdout += decode(bytes))),
      writeStderr: (bytes: Uint8Array) => Promise.resolve(void (said.stderr += decode(bytes))),
    },
  } as unknown as Context;
  assert.equal(await unit!.run(context, { arguments: [], options }), 0);
  return said;
}

async function inHome(body: (home: string, path: string) => Promise<void>): Promise<void> {
  const home = await Deno.makeTempDir({ prefix: "banger-unit-" });
  try {
    await body(home, `${home}/.config/systemd/user/banger.service`);
  } finally {
    await Deno.remove(home, { recursive: true });
  }
}

Deno.test("daemon unit: VMs outlive it, and nothing of a path is read as systemd's own syntax", () => {
  const text = daemonUnit('/opt/50% "of" $HOME\\x/banger', [["PATH", "/a b:/100%"]]);
  assert.match(text, /^KillMode=process$/m);
  assert.ok(text.includes('ExecStart="/opt/50%% \\"of\\" $$HOME\\\\x/banger" daemon start\n'));
  assert.ok(text.includes('Environment="PATH=/a b:/100%%"\n'));
  assert.throws(() => daemonUnit("/a\nExecStart=/bin/evil", []), /line break/);
});

Deno.test("daemon unit: printed without a change; installed twice; removed twice", () =>
  inHome(async (home, path) => {
    const printed = await run(home, {});
    assert.match(printed.stdout, /\[Service\]/);
    await assert.rejects(Deno.stat(path), Deno.errors.NotFound);
    const installed = await run(home, { install: true });
    assert.equal(installed.stdout, `${path}\n`);
    assert.match(installed.stderr, /systemctl --user enable --now banger.service/);
    assert.equal(await Deno.readTextFile(path), printed.stdout);
    assert.match((await run(home, { install: true })).stderr, /there already/);
    assert.match((await run(home, { remove: true })).stderr, /removed/);
    await assert.rejects(Deno.stat(path), Deno.errors.NotFound);
    assert.match((await run(home, { remove: true })).stderr, /is not there/);
  }));

Deno.test("daemon unit: another's unit is left alone", () =>
  inHome(async (home, path) => {
    await Deno.mkdir(path.slice(0, path.lastIndexOf("/")), { recursive: true });
    await Deno.writeTextFile(path, "[Service]\nExecStart=/bin/true\n");
    await assert.rejects(run(home, { install: true }), /banger did not write it/);
    await assert.rejects(run(home, { remove: true }), /banger did not write it/);
    assert.match(await Deno.readTextFile(path), /bin\/true/);
    await assert.rejects(run(home, { install: true, remove: true }), /at once/);
  }));
