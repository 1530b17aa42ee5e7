import type { CommandLine } from "../../../lib/base/host.ts";
import assert from "node:assert/strict";
import { buildId, type BuildStamp } from "../../../lib/base/build.ts";
import { BangerError } from "../../../lib/base/errors.ts";
import { daemonAccess } from "../../../lib/cli/daemon_access.ts";
import { realHost } from "../../../lib/sys/host.ts";

const BUILD: BuildStamp = { version: "1.0.0", commit: "abc", builtAt: "2026-01-01T00:00:00Z" };

// Locks go through a library that is loaded at the first one: not within a test, which would have to unload it.
await (await realHost().files.tryLock(await Deno.makeTempFile()))![Symbol.asyncDispose]();

/** A daemon that is only a flag, and commands that reach for it. */
async function fixture(act: (here: Awaited<ReturnType<typeof open>>) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir();
  try {
    await act(await open(directory));
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

function open(directory: string) {
  const { clock, files } = realHost();
  const daemon = { runs: false, starts: 0, exitCodes: [] as number[], buildId: buildId(BUILD) };
  const processes = {
    startInBackground({ cwd }: CommandLine) {
      // A daemon whose directory is removed cannot start a worker any more.
      assert.equal(cwd, "/");
      daemon.starts++;
      const exitCode = daemon.exitCodes.shift();
      if (exitCode === undefined) setTimeout(() => daemon.runs = true, 30);
      return Promise.resolve({ pid: 1, exitCode: () => exitCode });
    },
    identify: () => Promise.resolve({ pid: 1, startTimeTicks: 1, bootId: "b", executable: "/bangerd" }),
    isAlive: () => Promise.resolve(daemon.runs),
  };
  const access = daemonAccess({ clock, files, processes }, {
    build: BUILD,
    runtimeDirectory: `${directory}/run`,
    stateDirectory: `${directory}/state`,
    logPath: `${directory}/state/daemon.log`,
    startLock: `${directory}/run/start.lock`,
    uid: Deno.uid() ?? 0,
    command: () => Promise.resolve({ program: "bangerd", args: [] }),
    send(url) {
      if (!daemon.runs) return Promise.reject(new BangerError("connection_failed", "nobody"));
      if (url.endsWith("/shutdown")) setTimeout(() => daemon.runs = false, 20);
      const body = url.endsWith("/version") ? JSON.stringify({ buildId: daemon.buildId, pid: 1 }) : null;
      return Promise.resolve(new Response(body, { status: body ? 200 : 204 }));
    },
    warn: () => Promise.resolve(),
  });
  return { daemon, access };
}

Deno.test("of ten first commands at once one starts the daemon", () =>
  fixture(async ({ daemon, access }) => {
    await Promise.all(Array.from({ length: 10 }, async () => void await access.connect()));
    assert.equal(daemon.starts, 1);
  }));

Deno.test("a daemon that still ends keeps the next one waiting, not failing", () =>
  fixture(async ({ daemon, access }) => {
    // The first two found the lock of the one that ends.
    daemon.exitCodes = [0, 0];
    await access.connect();
    assert.equal(daemon.starts, 3);
  }));

Deno.test("stop returns once the daemon has ended, and says where none ran", () =>
  fixture(async ({ daemon, access }) => {
    assert.equal(await access.stop(false), false);
    await access.connect();
    assert.equal(await access.stop(false), true);
    assert.equal(daemon.runs, false);
    assert.equal(daemon.starts, 1);
  }));

Deno.test("a look at the daemon starts none", () =>
  fixture(async ({ daemon, access }) => {
    assert.equal(await access.connectIfRunning(), undefined);
    assert.equal(daemon.starts, 0);
  }));
