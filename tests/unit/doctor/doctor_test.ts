import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import type { Finding } from "../../../lib/base/finding.ts";
import { worstSeverity } from "../../../lib/base/finding.ts";
import type { Host } from "../../../lib/base/host.ts";
import { formatFindings } from "../../../lib/cli/commands/doctor.ts";
import { diagnose, type DoctorWorld, findingOf, repairAll } from "../../../lib/doctor/diagnosis.ts";
import { HOST_CHECKS } from "../../../lib/doctor/host_checks.ts";
import { STATE_CHECKS } from "../../../lib/doctor/state_checks.ts";
import { TOOL_CHECKS } from "../../../lib/doctor/tool_checks.ts";
import { resolvePaths } from "../../../lib/store/paths.ts";
import { Store } from "../../../lib/store/store.ts";
import { realHost } from "../../../lib/sys/host.ts";
import { libc } from "../../../lib/sys/libc.ts";

// Opened once and for good by whoever locks a file first: here, so that no test seems to leak it.
libc();

const BUILT_AT = "2026-01-01T00:00:00Z";

async function withHome(test: (home: string, world: DoctorWorld) => Promise<void>): Promise<void> {
  const home = await Deno.makeTempDir();
  const environment: Record<string, string> = { HOME: home };
  const world: DoctorWorld = {
    host: realHost(),
    paths: resolvePaths((name) => environment[name], Deno.uid()!),
    uid: Deno.uid()!,
    architecture: "x86_64",
    buildId: "1-a",
    builtAt: BUILT_AT,
    userName: "somebody",
  };
  try {
    await test(home, world);
  } finally {
    await Deno.remove(home, { recursive: true });
    await Deno.remove(world.paths.runtimeDirectory, { recursive: true }).catch(() => {}); // not every test makes it
  }
}

function withProcesses(world: DoctorWorld, processes: Partial<Host["processes"]>): DoctorWorld {
  return { ...world, host: { ...world.host, processes: { ...world.host.processes, ...processes } } };
}

const severities = (findings: readonly Finding[]) => findings.map(({ severity }) => severity);

Deno.test("a processor that banger has no kernel for is an error", () =>
  withHome(async (_home, world) => {
    assert.deepEqual(severities(await HOST_CHECKS.architecture({ ...world, architecture: "riscv64" })), [
      "error",
    ]);
    assert.deepEqual(severities(await HOST_CHECKS.architecture(world)), ["ok"]);
  }));

Deno.test("a clock before the build is an error with its remedy", () =>
  withHome(async (_home, world) => {
    const clock = { ...world.host.clock, now: () => Date.parse("2001-01-01T00:00:00Z") };
    const [finding] = await HOST_CHECKS.clock({ ...world, host: { ...world.host, clock } });
    assert.equal(finding?.severity, "error");
    assert.match(finding?.remedy ?? "", /set-ntp/);
  }));

Deno.test("disk space: an error below what a VM needs, a warning below what is comfortable", () =>
  withHome(async (_home, world) => {
    const judge = async (freeBytes: number) => {
      const files = { ...world.host.files, freeBytes: () => Promise.resolve(freeBytes) };
      return (await HOST_CHECKS["disk space"]({ ...world, host: { ...world.host, files } }))[0]?.severity;
    };
    assert.equal(await judge(2 ** 20), "error");
    assert.equal(await judge(2 ** 30), "warning");
    assert.equal(await judge(2 ** 40), "ok");
  }));

Deno.test("user namespaces: no newuidmap, no subordinate ids, a kernel that refuses, and root", () =>
  withHome(async (_home, world) => {
    const judge = async (subordinate: string, code: number) => {
      const files = {
        ...world.host.files,
        stat: () => Promise.resolve({}) as never,
        readText: () => Promise.resolve(subordinate),
      };
      const changed = withProcesses({ ...world, uid: 1000, host: { ...world.host, files } }, {
        which: () => Promise.resolve("/usr/bin/unshare"),
        run: () => Promise.resolve({ code, stdout: "", stderr: "" }),
      });
      return (await HOST_CHECKS["user namespaces"](changed))[0]!;
    };
    assert.match((await judge("other:100000:65536\n", 0)).remedy ?? "", /usermod --add-subuids .* somebody$/);
    assert.match((await judge("somebody:100000:65536\n", 1)).remedy ?? "", /unprivileged_userns_clone/);
    assert.equal((await judge("1000:100000:65536\n", 0)).severity, "ok");
    const bare = withProcesses({ ...world, uid: 1000 }, { which: () => Promise.resolve(undefined) });
    assert.match((await HOST_CHECKS["user namespaces"](bare))[0]?.remedy ?? "", /install uidmap/);
    assert.equal((await HOST_CHECKS["user namespaces"]({ ...world, uid: 0 }))[0]?.severity, "ok");
  }));

Deno.test("tools: missing, broken and fine ones, each with what follows", () =>
  withHome(async (_home, world) => {
    const changed = withProcesses(world, {
      which: (program) => Promise.resolve(program === "git" ? undefined : `/bin/${program}`),
      run: ({ program }) =>
        Promise.resolve(
          program === "/bin/ssh"
            ? { code: 127, stdout: "", stderr: "cannot load libcrypto\n" }
            : { code: 0, stdout: `${program} 1.0\nmore\n`, stderr: "" },
        ),
    });
    const found = new Map((await TOOL_CHECKS.tools(changed)).map((finding) => [finding.check, finding]));
    assert.equal(found.get("git")?.severity, "warning");
    assert.match(found.get("git")?.remedy ?? "", /install git/);
    assert.match(found.get("ssh")?.found ?? "", /does not run: cannot load libcrypto/);
    assert.equal(found.get("mmdebstrap")?.found, "/bin/mmdebstrap 1.0");
    const none = withProcesses(world, { which: () => Promise.resolve(undefined) });
    assert.equal(worstSeverity(await TOOL_CHECKS.tools(none)), "error");
  }));

Deno.test("state: a database that is sound, one of a newer banger, one that is no database", () =>
  withHome(async (_home, world) => {
    await STATE_CHECKS.directories(world);
    assert.equal((await STATE_CHECKS.state(world))[0]?.found, "none yet");
    Store.open(world.paths.database)[Symbol.dispose]();
    assert.match((await STATE_CHECKS.state(world))[0]?.found ?? "", /^sound/);
    const database = new DatabaseSync(world.paths.database);
    database.exec("PRAGMA user_version = 999");
    database.close();
    assert.match((await STATE_CHECKS.state(world))[0]?.found ?? "", /newer banger/);
    await Deno.writeTextFile(world.paths.database, "not a database".repeat(1000));
    assert.equal((await STATE_CHECKS.state(world))[0]?.severity, "error");
  }));

Deno.test("state: a daemon that runs has its database to itself", () =>
  withHome(async (_home, world) => {
    await STATE_CHECKS.directories(world);
    Store.open(world.paths.database)[Symbol.dispose]();
    await using _lock = await world.host.files.lock(world.paths.daemonLock);
    assert.match((await STATE_CHECKS.state(world))[0]?.found ?? "", /in use by the daemon/);
  }));

Deno.test("leftovers are named, and repaired; disks that nobody knows are named and stay", () =>
  withHome(async (_home, world) => {
    await STATE_CHECKS.directories(world);
    Store.open(world.paths.database)[Symbol.dispose]();
    const staging = `${world.paths.imagesDirectory}/.staging-1`;
    const unknown = `${world.paths.vmsDirectory}/0123456789ab`;
    await Deno.mkdir(staging, { recursive: true });
    await Deno.mkdir(unknown, { recursive: true });
    await Deno.mkdir(`${world.paths.runtimeDirectory}/vms/ba9876543210`, { recursive: true });
    const before = await STATE_CHECKS.state(world);
    assert.deepEqual(before.map(({ check, severity }) => [check, severity]), [
      ["database", "ok"],
      ["leftovers", "note"],
      ["leftovers", "note"],
      ["VMs", "warning"],
    ]);
    assert.deepEqual(await repairAll(before), []);
    await assert.rejects(Deno.stat(staging), Deno.errors.NotFound);
    await Deno.stat(unknown);
  }));

Deno.test("a home that cannot be written to is an error with what to set", () =>
  withHome(async (home, world) => {
    await Deno.writeTextFile(`${home}/.local`, "a file where a directory is wanted");
    const [finding] = await STATE_CHECKS.directories(world);
    assert.equal(finding?.severity, "error");
    assert.match(finding?.remedy ?? "", /XDG_STATE_HOME/);
  }));

Deno.test("diagnose() makes a finding of a check that fails, and repairAll() one of a repair that fails", () =>
  withHome(async (_home, world) => {
    const diagnoses = await diagnose(world, {
      broken: () => Promise.reject(new Error("no luck")),
      fixable: () =>
        Promise.resolve([{
          check: "fixable",
          severity: "note" as const,
          found: "x",
          fix: "mend it",
          repair: () => Promise.reject(new Error("stuck")),
        }]),
    });
    assert.equal(diagnoses[0]?.found, "cannot be checked: no luck");
    assert.match((await repairAll(diagnoses))[0]?.found ?? "", /mend it.*stuck/);
    assert.deepEqual(Object.keys(findingOf(diagnoses[1]!)), ["check", "severity", "found", "fix"]);
  }));

Deno.test("formatFindings() shows meaning and remedy, and lets no escape sequence through", () => {
  const text = formatFindings([
    { check: "a", severity: "ok", found: "fine\u001b[31m" },
    { check: "longer", severity: "error", found: "bad", meaning: "hurts", remedy: "do this" },
  ]);
  assert.equal(
    text,
    "ok    a       fine\ufffd[31m\nERROR longer  bad\n              hurts\n              → do this\n\n1 thing does not work.",
  );
});
