import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import { createHash } from "node:crypto";
import { BangerError } from "../../../lib/base/errors.ts";
import { CommandNotStarted } from "../../../lib/guest/client/exec_session.ts";
import type { ExecStart } from "../../../lib/guest/wire/exec.ts";
import { isAlive, outcomeOf, run, until, withAgent } from "./agent_on_host.ts";

const encoder = new TextEncoder();
const discard = { stdout: () => Promise.resolve(), stderr: () => Promise.resolve() };

Deno.test("exec keeps stdout, stderr and the exit code apart", async () => {
  await withAgent(async (client) => {
    deepEqual(await run(client, "echo out; echo err >&2; exit 7"), {
      status: { code: 7 },
      stdout: "out\n",
      stderr: "err\n",
    });
    deepEqual((await run(client, { argv: ["true"] })).status, { code: 0 });
    deepEqual((await run(client, "kill -9 $$")).status, { signal: 9 });
  });
});

Deno.test("exec passes arguments, directory and environment as they are", async () => {
  await withAgent(async (client) => {
    const argv = ["printf", "%s|", "two words", "", "$HOME", "*", "ü\n"];
    equal((await run(client, { argv })).stdout, "two words||$HOME|*|ü\n|");
    equal((await run(client, { argv: ["pwd"], cwd: "/usr" })).stdout, "/usr\n");
    equal((await run(client, { argv: ["sh", "-c", "echo $A"], env: { A: "b c" } })).stdout, "b c\n");
    const { stdout } = await run(client, { argv: ["env"] });
    for (const line of ["HOME=/root", "USER=root", "LANG=C.UTF-8"]) ok(stdout.includes(`${line}\n`), line);
    ok(/^PATH=.*\/usr\/bin/m.test(stdout));
    // Nothing of the agent's own environment.
    equal(/^(DENO|XDG|LD)_/m.test(stdout), false);
  });
});

/** glibc's own, 32 and 33, which its posix_spawn always leaves ignored. */
const GLIBC_SIGNALS = 0x180000000n;

Deno.test("a command starts as any other does: signals, limits, session, standard streams", async () => {
  await withAgent(async (client) => {
    const { stdout } = await run(client, "grep -E '^Sig(Ign|Blk)' /proc/self/status; ulimit -n");
    const [blocked, ignored] = [...stdout.matchAll(/[0-9a-f]{16}/g)].map(([mask]) => BigInt(`0x${mask}`));
    deepEqual([blocked, ignored! & ~GLIBC_SIGNALS], [0n, 0n]);
    ok(stdout.endsWith("\n1024\n"), stdout);
    equal((await run(client, "echo a > /dev/stdout; echo b > /dev/stderr")).stderr, "b\n");
    const [pid, group, session] = (await run(client, "ps -o pid=,pgid=,sid= -p $$")).stdout.trim().split(
      /\s+/,
    );
    ok(pid === group && group === session);
  });
});

Deno.test("a command inherits no descriptor of the agent's", async () => {
  await withAgent(async (client) => {
    // Whoever started these tests may have left some open; they pass through every process.
    const inherited = [...Deno.readDirSync("/proc/self/fd")].map(({ name }) => name).filter(isInherited);
    // One more is what ls reads the directory with.
    const seen = (await run(client, { argv: ["ls", "/proc/self/fd"] })).stdout.trim().split("\n");
    deepEqual(seen.length, new Set(["0", "1", "2", ...inherited]).size + 1, `${seen} against ${inherited}`);
  });
});

/** Source: proc(5), /proc/pid/fdinfo: octal flags with O_CLOEXEC */
function isInherited(fd: string): boolean {
  try {
    const flags = /^flags:\s+([0-7]+)$/m.exec(Deno.readTextFileSync(`/proc/self/fdinfo/${fd}`));
    return (parseInt(flags![1]!, 8) & 0o2000000) === 0;
  } catch {
    // Closed since it was listed.
    return false;
  }
}

Deno.test("stdin reaches the command, and its end does", async () => {
  await withAgent(async (client) => {
    const session = await client.exec({ argv: ["cat"] });
    const outcome = outcomeOf(session);
    await session.writeStdin(encoder.encode("hi "));
    await session.writeStdin(encoder.encode("there"));
    await session.closeStdin();
    deepEqual(await outcome, { status: { code: 0 }, stdout: "hi there", stderr: "" });
  });
});

Deno.test("a command that does not read its stdin ends all the same", async () => {
  await withAgent(async (client) => {
    const session = await client.exec({ argv: ["head", "-c", "1"] });
    const outcome = outcomeOf(session);
    const writing = session.writeStdin(new Uint8Array(8 * 1024 * 1024).fill(0x61));
    await rejects(
      writing,
      (failure) => failure instanceof BangerError && failure.code === "connection_failed",
    );
    deepEqual(await outcome, { status: { code: 0 }, stdout: "a", stderr: "" });
  });
});

Deno.test("a signal passes a stdin that nobody reads", async () => {
  await withAgent(async (client) => {
    const session = await client.exec({ argv: ["sleep", "1000"] });
    const outcome = outcomeOf(session);
    const writing = session.writeStdin(new Uint8Array(8 * 1024 * 1024)).catch(() => {});
    await new Promise((resolve) => setTimeout(resolve, 100));
    await session.signal("SIGINT");
    deepEqual((await outcome).status, { signal: 2 });
    await writing;
  });
});

Deno.test("100 MB come out as they went in, both ways at once", async () => {
  await withAgent(async (client) => {
    const block = crypto.getRandomValues(new Uint8Array(65_536));
    const [sent, received] = [createHash("sha256"), createHash("sha256")];
    const session = await client.exec({ argv: ["cat"] });
    const finishing = session.finish({
      ...discard,
      stdout: (bytes) => {
        received.update(bytes);
        return Promise.resolve();
      },
    });
    for (let i = 0; i < 1600; i++) {
      block[i]! ^= 1;
      sent.update(block);
      await session.writeStdin(block);
    }
    await session.closeStdin();
    deepEqual(await finishing, { code: 0 });
    equal(received.digest("hex"), sent.digest("hex"));
  });
});

Deno.test("a client that takes its time gets everything, though the command has ended", async () => {
  await withAgent(async (client) => {
    const session = await client.exec({ argv: ["head", "-c", "700000", "/dev/zero"], stdinClosed: true });
    let total = 0;
    await session.finish({
      ...discard,
      stdout: async (bytes) => {
        total += bytes.length;
        await new Promise((resolve) => setTimeout(resolve, 60));
      },
    });
    equal(total, 700_000);
  });
});

Deno.test("signals reach the command's whole process group", async () => {
  await withAgent(async (client) => {
    const session = await client.exec({
      argv: ["sh", "-c", "sleep 1000 & echo $!; wait"],
      stdinClosed: true,
    });
    let child = 0;
    const outcome = outcomeOf(session, (text) => child = Number(text));
    await until(() => child > 0, "the child's pid");
    await session.signal("SIGTERM");
    deepEqual((await outcome).status, { signal: 15 });
    await until(() => !isAlive(child), "the child's end");
  });
});

Deno.test("a client that goes takes the command and all it started along, willing or not", async () => {
  await withAgent(async (client) => {
    const script = "sleep 1000 & echo $$ $!; trap '' TERM; (trap '' TERM; sleep 1000) & echo $!; wait; wait";
    const session = await client.exec({ argv: ["sh", "-c", script], stdinClosed: true });
    let pids: number[] = [];
    const outcome = outcomeOf(session, (text) => pids = text.trim().split(/\s+/).map(Number));
    await until(() => pids.length === 3, "three pids");
    session.close();
    await rejects(outcome);
    await until(() => !pids.some(isAlive), "the end of all three");
  });
});

Deno.test("what a command leaves in the background neither holds it up nor loses its output", async () => {
  await withAgent(async (client) => {
    const startMs = performance.now();
    const { stdout, status } = await run(client, "seq 50000; sleep 4 & exit 5");
    ok(performance.now() - startMs < 3000);
    deepEqual(status, { code: 5 });
    equal(stdout.length, 288_894);
    const late = await run(client, "(sleep 0.05; echo late) & echo early");
    equal(late.stdout, "early\nlate\n");
  });
});

for (
  const [start, exitCode, code, why] of [
    [{ argv: ["no-such-program"] }, 127, "not_found", "that is not in PATH"],
    [{ argv: ["/no/such/program"] }, 127, "not_found", "whose path does not exist"],
    [{ argv: [""] }, 127, "not_found", "without a name"],
    [{ argv: ["/etc/passwd"] }, 126, "permission_denied", "that is not executable"],
    [{ argv: ["/etc"] }, 126, "permission_denied", "that is a directory"],
    [{ argv: ["ls"], env: { PATH: "/nonexistent" } }, 127, "not_found", "that is not in its own PATH"],
    [{ argv: ["ls"], cwd: "/nonexistent" }, 125, "not_found", "in a directory that does not exist"],
    [{ argv: ["ls"], cwd: "/etc/passwd" }, 125, "not_found", "in a directory that is a file"],
  ] as const satisfies readonly (readonly [ExecStart, number, string, string])[]
) {
  Deno.test(`exec of a program ${why} fails with ${exitCode}`, async () => {
    await withAgent(async (client) => {
      await rejects(run(client, start), (failure) => {
        ok(failure instanceof CommandNotStarted, String(failure));
        deepEqual([failure.commandExitCode, failure.code], [exitCode, code]);
        return true;
      });
    });
  });
}

Deno.test("a script without an interpreter line goes to sh, one with a missing interpreter fails", async () => {
  const directory = await Deno.makeTempDir();
  await Deno.writeTextFile(`${directory}/plain`, 'echo "plain $1"\n', { mode: 0o755 });
  await Deno.writeTextFile(`${directory}/broken`, "#!/no/such/interpreter\n", { mode: 0o755 });
  await withAgent(async (client) => {
    equal((await run(client, { argv: ["./plain", "x"], cwd: directory })).stdout, "plain x\n");
    const env = { PATH: `relative::${directory}:/bin` };
    equal((await run(client, { argv: ["plain", "y"], env })).stdout, "plain y\n");
    await rejects(run(client, { argv: ["./broken"], cwd: directory }), (failure) => {
      return failure instanceof CommandNotStarted && failure.commandExitCode === 127;
    });
  });
  await Deno.remove(directory, { recursive: true });
});

Deno.test("60 commands at once, and no descriptor is left", async () => {
  await withAgent(async (client) => {
    await run(client, "true");
    const before = [...Deno.readDirSync("/proc/self/fd")].length;
    const outcomes = await Promise.all(
      Array.from({ length: 60 }, (_, i) => run(client, `sleep 0.${i % 3}; echo ${i}; exit ${i}`)),
    );
    outcomes.forEach((outcome, i) =>
      deepEqual(outcome, { status: { code: i }, stdout: `${i}\n`, stderr: "" })
    );
    await until(() => [...Deno.readDirSync("/proc/self/fd")].length <= before, "descriptors to be closed");
  });
});
