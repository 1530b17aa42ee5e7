import assert from "node:assert/strict";
import { banger, ok } from "./fixture.ts";

Deno.test("doctor judges an empty home without a daemon, and says so in its exit code", async () => {
  const home = await Deno.makeTempDir({ prefix: "banger doctor ü-" });
  const env = { HOME: home, XDG_RUNTIME_DIR: `${home}/run` };
  try {
    const { code, stdout, stderr } = await banger(["doctor", "--json"], { env });
    const findings = JSON.parse(stdout) as { check: string; severity: string; found: string }[];
    const severityOf = (check: string) => findings.find((finding) => finding.check === check)?.severity;
    assert.equal(stderr, "");
    assert.equal(severityOf("architecture"), "ok");
    assert.equal(severityOf("qemu-system-x86_64"), "ok");
    assert.equal(severityOf("directories"), "ok");
    assert.equal(code, findings.some(({ severity }) => severity === "warning") ? 1 : 0);
    assert.equal((await banger(["daemon", "status"], { env })).code, 1, "no daemon was started");
  } finally {
    await Deno.remove(home, { recursive: true });
  }
});

Deno.test("doctor reads the configuration and removes what a crashed run left, when told to", async () => {
  const home = await Deno.makeTempDir({ prefix: "banger-doctor-" });
  const env = { HOME: home };
  const staging = `${home}/.local/state/banger/images/.staging-1`;
  try {
    await Deno.mkdir(`${home}/.config/banger`, { recursive: true });
    await Deno.writeTextFile(`${home}/.config/banger/config.toml`, "colour = 1\n");
    const bad = await banger(["doctor"], { env });
    assert.equal(bad.code, 5);
    assert.match(bad.stdout, /ERROR configuration .*colour/);
    await Deno.remove(`${home}/.config/banger/config.toml`);
    // A daemon's first start makes the database.
    assert.equal((await banger(["vm", "list"], { env })).code, 0);
    assert.equal((await banger(["daemon", "stop"], { env })).code, 0);
    await Deno.mkdir(staging, { recursive: true });
    assert.match((await banger(["doctor"], { env })).stdout, /note\s+leftovers .*\.staging-1/);
    const fixed = await banger(["doctor", "--fix"], { env });
    assert.match(fixed.stdout, /fixing leftovers: remove what crashed runs left half-made/);
    await assert.rejects(Deno.stat(staging), Deno.errors.NotFound);
  } finally {
    await banger(["daemon", "stop", "--force"], { env });
    await Deno.remove(home, { recursive: true });
  }
});

Deno.test("support bundle holds no secret of a home; the daemon's unit is one that systemd takes", async () => {
  const home = await Deno.makeTempDir({ prefix: "banger support ü-" });
  const env = { HOME: home, XDG_RUNTIME_DIR: `${home}/run`, TOKEN_OF_MINE: "secret-of-the-environment" };
  const file = `${home}/a bundle.tar.gz`;
  try {
    await Deno.mkdir(`${home}/run`, { mode: 0o700 });
    await Deno.mkdir(`${home}/.config/banger`, { recursive: true });
    await Deno.writeTextFile(
      `${home}/.config/banger/config.toml`,
      '# secret-of-a-comment\n[defaults.environment]\nAPI_KEY = "secret-of-the-configuration"\n',
    );
    await ok(["vm", "list"], { env });
    assert.equal(await ok(["support", "bundle", "--output", file], { env }), `${file}\n`);
    const { stdout } = await new Deno.Command("tar", { args: ["-xzOf", file] }).output();
    const text = new TextDecoder().decode(stdout);
    assert.match(text, /"check": ?"disk space"/);
    assert.match(text, /API_KEY/);
    assert.doesNotMatch(text, /secret-of/);
    assert.equal((await Deno.stat(file)).mode! & 0o777, 0o600);

    const unit = (await ok(["daemon", "unit", "--install"], { env })).trim();
    const verified = await new Deno.Command("systemd-analyze", {
      args: ["--user", "verify", unit],
      env: { XDG_RUNTIME_DIR: `${home}/run` },
    }).output();
    assert.equal(new TextDecoder().decode(verified.stderr), "");
    assert.equal(verified.code, 0);
  } finally {
    await banger(["daemon", "stop", "--force"], { env });
    await Deno.remove(home, { recursive: true });
  }
});
