import assert from "node:assert/strict";
import { compileAll } from "../../scripts/build.ts";
import {
  BANGER,
  banger,
  BIN,
  daemonPid,
  HOME,
  isAlive,
  killDaemon,
  ok,
  otherHome,
  STATE,
  until,
} from "./fixture.ts";

async function sha256(path: string): Promise<string> {
  const { stdout } = await new Deno.Command("sha256sum", { args: [path] }).output();
  return new TextDecoder().decode(stdout).split(" ")[0]!;
}

Deno.test("the one installed file carries the others, byte for byte, and needs nothing beside it", async () => {
  await using home = await otherHome();
  const installed = `${home.HOME}/banger`;
  await Deno.copyFile(BANGER, installed);
  const result = await banger(["ps"], { executable: installed, env: { HOME: home.HOME } });
  assert.equal(result.code, 0, result.stderr);
  const [build] = [...Deno.readDirSync(`${home.HOME}/.local/state/banger/bin`)].map(({ name }) => name);
  for (const name of ["bangerd", "banger-vsock-agent"]) {
    assert.equal(
      await sha256(`${home.HOME}/.local/state/banger/bin/${build}/${name}`),
      await sha256(`${BIN}/${name}`),
    );
  }
});

Deno.test("ten first commands at once start one daemon, and all succeed", async () => {
  await using home = await otherHome();
  const env = { HOME: home.HOME };
  const results = await Promise.all(Array.from({ length: 10 }, () => banger(["ps"], { env })));
  assert.deepEqual(results.map(({ code, stderr }) => `${code}${stderr}`), results.map(() => "0"));
});

Deno.test("a daemon of another build makes room for ours", async () => {
  await using home = await otherHome();
  const other = `${home.HOME}/other/bin/banger`;
  await compileAll(`${home.HOME}/other`, {
    version: "0.0.1",
    commit: "other",
    builtAt: "2020-01-01T00:00:00Z",
  });
  const env = { HOME: home.HOME };
  const status = async (executable: string) =>
    JSON.parse((await banger(["daemon", "status", "--json"], { env, executable })).stdout) as {
      version: string;
      pid: number;
    };
  assert.equal((await banger(["ps"], { env, executable: BANGER })).code, 0);
  const first = await status(BANGER);
  const result = await banger(["ps"], { env, executable: other });
  assert.equal(result.code, 0, result.stderr);
  const second = await status(other);
  assert.notEqual(second.pid, first.pid);
  assert.ok(!isAlive(first.pid));
});

Deno.test("a stale socket and a held lock of a dead daemon do no harm", async () => {
  await killDaemon();
  assert.equal((await banger(["ps"])).code, 0);
  const pid = await daemonPid();
  await ok(["daemon", "stop"]);
  await until(() => !isAlive(pid), "the daemon ends when asked to");
  assert.equal((await banger(["daemon", "status"])).code, 1);
});

Deno.test("a state directory of a newer version is refused, told and left untouched", async () => {
  await using home = await otherHome();
  const env = { HOME: home.HOME };
  const state = `${home.HOME}/.local/state/banger`;
  assert.equal((await banger(["ps"], { env })).code, 0);
  await banger(["daemon", "stop"], { env });
  await until(async () => (await banger(["daemon", "status"], { env })).code === 1, "the daemon is gone");
  const { DatabaseSync } = await import("node:sqlite");
  const database = new DatabaseSync(`${state}/state.db`);
  database.exec("PRAGMA user_version = 999; PRAGMA wal_checkpoint(TRUNCATE)");
  database.close();
  const before = await sha256(`${state}/state.db`);
  const result = await banger(["ps"], { env });
  assert.equal(result.code, 5, result.stderr);
  assert.match(result.stderr, /schema is version 999[\s\S]*newer banger/);
  assert.equal(await sha256(`${state}/state.db`), before);
});

Deno.test("the API refuses what it does not know, and serves its OpenAPI document", async () => {
  await ok(["ps"]);
  const runtime = [...Deno.readDirSync("/tmp")].map(({ name }) => `/tmp/${name}/daemon.sock`);
  const sockets = await Promise.all(
    runtime.map((path) => Deno.lstat(path).then(() => path, () => undefined)),
  );
  const log = await Deno.readTextFile(`${STATE}/daemon.log`);
  const socket = sockets.find((path) => path && log.includes(path));
  assert.ok(socket, `the daemon of ${HOME} listens`);
  assert.equal(((await Deno.lstat(socket)).mode ?? 0) & 0o777, 0o600);
  using client = Deno.createHttpClient({ proxy: { transport: "unix", path: socket } });
  const document = await (await fetch("http://banger/v1/openapi.json", { client })).json();
  assert.equal(document.openapi, "3.1.0");
  const refusal = await fetch("http://banger/v1/vms", {
    client,
    method: "POST",
    headers: { "content-type": "application/json" },
    body: '{"cpus":"many"}',
  });
  assert.equal(refusal.status, 400);
  assert.equal((await refusal.json()).code, "invalid_argument");
});
