import assert from "node:assert/strict";
import { BangerError } from "../../../lib/base/errors.ts";
import { realHost } from "../../../lib/sys/host.ts";
import { libc } from "../../../lib/sys/libc.ts";
import { parseProcessStat } from "../../../lib/sys/process_identity.ts";

// Loaded for the life of the process, not of the first test that needs it.
libc();
const { files, processes, sockets, clock, network } = realHost();
const code = (wanted: string) => (thrown: unknown) => thrown instanceof BangerError && thrown.code === wanted;

async function withDirectory(test: (directory: string) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "banger-sys-" });
  try {
    await test(directory);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

Deno.test("run() captures both streams and the code, within bounds", async () => {
  const result = await processes.run({ program: "sh", args: ["-c", "echo out; echo err >&2; exit 3"] });
  assert.deepEqual(result, { code: 3, stdout: "out\n", stderr: "err\n" });
  const large = await processes.run({ program: "sh", args: ["-c", "seq 100000"] }, { maxOutputBytes: 10 });
  assert.equal(large.stdout, "1\n2\n3\n4\n5\n");
  const fed = await processes.run({ program: "cat", args: [] }, { stdin: new TextEncoder().encode("hi") });
  assert.equal(fed.stdout, "hi");
});

Deno.test("run() says which program is missing, and ends one that takes too long", async () => {
  await assert.rejects(processes.run({ program: "no-such-program", args: [] }), code("missing_tool"));
  await assert.rejects(
    processes.run({ program: "sleep", args: ["60"] }, { timeoutMs: 50 }),
    code("internal"),
  );
});

Deno.test("a detached process is found again, signalled and seen to end", () =>
  withDirectory(async (directory) => {
    const log = `${directory}/log`;
    const process = await processes.startDetached({
      program: "sh",
      args: ["-c", "echo started; exec sleep 60"],
    }, log);
    // Before that, a signal would end a shell that has not begun.
    while (!(await files.readText(log, 100)).includes("started")) await clock.sleep(5);
    assert.deepEqual(await processes.identify(process.pid), {
      ...process,
      executable: (await processes.identify(process.pid))!.executable,
    });
    assert.ok(await processes.isAlive(process));
    assert.ok(
      !(await processes.isAlive({ ...process, startTimeTicks: process.startTimeTicks + 1 })),
      "another process with its pid",
    );
    assert.ok(
      !(await processes.signal({ ...process, bootId: "other" }, "SIGKILL")),
      "a process of another boot",
    );
    assert.ok(await processes.isAlive(process));
    assert.ok(await processes.signal(process, "SIGTERM"));
    assert.ok(await processes.waitForExit(process, 5000));
    assert.equal(await processes.signal(process, "SIGTERM"), false);
  }));

Deno.test("a detached program that ends at once is an error", () =>
  withDirectory(async (directory) => {
    const failing = processes.startDetached({ program: "/bin/false", args: [] }, `${directory}/log`);
    // It may be seen alive for a moment: then its end shows afterwards.
    const outcome = await failing.catch((thrown) => thrown);
    if (outcome instanceof BangerError) assert.equal(outcome.code, "host_unsupported");
    else assert.ok(await processes.waitForExit(outcome, 5000));
  }));

Deno.test("the stat of a process whose name holds spaces and parentheses is read", () => {
  const stat = parseProcessStat(`42 (a) b (c) S 1 42 42 0 -1 4194560 1 0 0 0 7 3 0 0 20 0 1 0 12345 1 1 1`);
  assert.deepEqual(stat, { state: "S", parentPid: 1, cpuTimeMs: 100, startTimeTicks: 12345 });
});

for (const write of ["writeAtomic", "replace"] as const) {
  Deno.test(`${write}() replaces a file whole and leaves nothing beside it`, () =>
    withDirectory(async (directory) => {
      await files[write](`${directory}/x`, "one", 0o640);
      await files[write](`${directory}/x`, "two", 0o640);
      assert.equal(await files.readText(`${directory}/x`, 10), "two");
      assert.deepEqual(await files.list(directory), ["x"]);
      assert.equal((await files.stat(`${directory}/x`))?.mode, 0o640);
      await assert.rejects(files.readText(`${directory}/x`, 2), code("corrupt_data"));
      await assert.rejects(files[write](`${directory}/missing/x`, ""), code("not_found"));
    }));
}

Deno.test("sync() takes files and directories", () =>
  withDirectory(async (directory) => {
    await files.replace(`${directory}/x`, "one");
    await files.sync(`${directory}/x`);
    await files.sync(directory);
    await assert.rejects(files.sync(`${directory}/y`), code("not_found"));
  }));

Deno.test("copySparse() keeps holes and content", () =>
  withDirectory(async (directory) => {
    const sizeBytes = 2 ** 30;
    {
      await using file = await files.open(`${directory}/a`, { read: true, write: true, createNew: true });
      await file.truncate(sizeBytes);
      await file.writeAt(new Uint8Array(300_000).fill(7), 500_000_000);
    }
    await files.copySparse(`${directory}/a`, `${directory}/b`);
    const copy = await files.stat(`${directory}/b`);
    assert.equal(copy?.sizeBytes, sizeBytes);
    assert.ok(copy.allocatedBytes < 2 ** 20);
    await using file = await files.open(`${directory}/b`, { read: true });
    const buffer = new Uint8Array(300_000);
    assert.equal(await file.readAt(buffer, 500_000_000), 300_000);
    assert.ok(buffer.every((byte) => byte === 7));
    await assert.rejects(files.copySparse(`${directory}/a`, `${directory}/b`), code("already_exists"));
  }));

Deno.test("concurrent reads and writes at offsets do not mix", () =>
  withDirectory(async (directory) => {
    await using file = await files.open(`${directory}/x`, { read: true, write: true, createNew: true });
    const sizeBytes = 300_000; // above the bound for asynchronous calls
    await Promise.all(
      [0, 1, 2, 3].map((i) => file.writeAt(new Uint8Array(sizeBytes).fill(i + 1), i * sizeBytes)),
    );
    for (const i of [3, 0, 2, 1]) {
      const buffer = new Uint8Array(sizeBytes);
      assert.equal(await file.readAt(buffer, i * sizeBytes), sizeBytes);
      assert.ok(buffer.every((byte) => byte === i + 1));
    }
    assert.equal(await file.readAt(new Uint8Array(10), 4 * sizeBytes), 0);
  }));

Deno.test("what a file writes out beside more writes is all there in the end", () =>
  withDirectory(async (directory) => {
    const piece = new Uint8Array(5_000_000).map((_, i) => i);
    await using file = await files.open(`${directory}/x`, {
      read: true,
      write: true,
      createNew: true,
      writesOut: true,
    });
    for (let i = 0; i < 15; i++) await file.writeAt(piece, i * piece.length);
    await file.sync();
    assert.equal(await file.sizeBytes(), 15 * piece.length);
    const read = new Uint8Array(piece.length);
    await file.readAt(read, 14 * piece.length);
    assert.ok(read.every((byte, i) => byte === piece[i]));
  }));

Deno.test("a lock is held once, and free when it is given back", () =>
  withDirectory(async (directory) => {
    const path = `${directory}/lock`;
    {
      await using _held = await files.lock(path);
      assert.equal(await files.tryLock(path), undefined);
    }
    await using again = await files.tryLock(path);
    assert.ok(again);
  }));

Deno.test("a stale socket is removed, one that is served and a plain file are not", () =>
  withDirectory(async (directory) => {
    const path = `${directory}/socket`;
    assert.equal(await sockets.removeStaleSocket(path), true, "nothing there");
    const listener = await sockets.listenUnix(path);
    assert.equal(((await Deno.stat(path)).mode ?? 0) & 0o777, 0o600);
    assert.equal(await sockets.removeStaleSocket(path), false);
    listener.close();
    await Deno.remove(path).catch(() => {});
    // A process that was killed leaves its socket behind.
    const program = `Deno.listen({ transport: "unix", path: ${
      JSON.stringify(path)
    } }); console.log("up"); await new Promise(() => setInterval(() => {}, 1000));`;
    const child = new Deno.Command(Deno.execPath(), {
      args: ["eval", program],
      stdout: "piped",
      stderr: "null",
    }).spawn();
    const reader = child.stdout.getReader();
    await reader.read();
    child.kill("SIGKILL");
    await child.status;
    await reader.cancel();
    assert.equal((await files.stat(path))?.kind, "other");
    assert.equal(await sockets.removeStaleSocket(path), true);
    assert.equal(await files.stat(path), undefined);
    await Deno.writeTextFile(path, "precious");
    await assert.rejects(sockets.removeStaleSocket(path), BangerError);
    assert.equal(await Deno.readTextFile(path), "precious");
    await assert.rejects(sockets.connectUnix(`${directory}/none`), code("not_found"));
  }));

Deno.test("sleep() ends early with the signal's reason", async () => {
  const reason = new Error("enough");
  await assert.rejects(clock.sleep(60_000, AbortSignal.abort(reason)), (thrown) => thrown === reason);
});

Deno.test("300 that connect at once need nobody who accepts them at once", async () => {
  const somaxconn = Number(await Deno.readTextFile("/proc/sys/net/core/somaxconn"));
  if (somaxconn < 300) return console.log(`skipped: net.core.somaxconn is ${somaxconn} here`);
  const listener = await network.listenTcp("127.0.0.1", 0);
  try {
    // Beyond what the backlog holds, these would not come to an end.
    const connections = await Promise.all(
      Array.from({ length: 300 }, () => network.connectTcp("127.0.0.1", listener.port)),
    );
    for (const connection of connections) connection.close();
  } finally {
    listener.close();
  }
});

Deno.test("a process may open more files than the host gives it at first", async () => {
  const module = new URL("../../../lib/sys/descriptor_limit.ts", import.meta.url);
  // Deno itself raises it at its start, which compiled executables do not: so it is lowered first.
  const script = `import { raiseDescriptorLimit } from "${module}";
    new Deno.Command("prlimit", { args: ["--pid", String(Deno.pid), "--nofile=256:4000"] }).outputSync();
    raiseDescriptorLimit();
    console.log(await Deno.readTextFile("/proc/self/limits"));`;
  const args = ["eval", "--no-check", script];
  const { code, stdout } = await processes.run({ program: Deno.execPath(), args });
  assert.equal(code, 0);
  assert.match(stdout, /^Max open files +4000 +4000 /m);
});
