import assert from "node:assert/strict";
import { banger } from "./fixture.ts";

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
