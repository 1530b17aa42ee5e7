import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import { BangerError } from "../../../lib/base/errors.ts";
import type { SessionClient } from "../../../lib/guest/client/session_client.ts";
import { SESSION_OUTPUT_BYTES } from "../../../lib/guest/wire/sessions.ts";
import { isAlive, type Outcome, outcomeOf, until, withAgent } from "./agent_on_host.ts";

const encoder = new TextEncoder();
const sh = (script: string) => ({ argv: ["sh", "-c", script] });

function outcome(sessions: SessionClient, name: string): Promise<Outcome> {
  const gathering = sessions.attach(name, {}).then((attached) => outcomeOf(attached));
  gathering.catch(() => {}); // seen where it is awaited
  return gathering;
}

function failsWith(code: string, pattern: RegExp) {
  return (failure: unknown) =>
    failure instanceof BangerError && failure.code === code && pattern.test(failure.message);
}

Deno.test("a session: its output before and after, its streams apart, its end for each who asks", async () => {
  await withAgent(async (_client, sessions) => {
    const view = await sessions.start({ ...sh("echo one; echo err >&2; read line; echo got $line; exit 7") });
    deepEqual([view.name, view.state, view.hasTerminal], ["sh", "running", false]);
    const early = outcome(sessions, "sh");
    await sessions.send("sh", encoder.encode("hello\n"), false);
    const expected = { status: { code: 7 }, stdout: "one\ngot hello\n", stderr: "err\n" };
    deepEqual(await early, expected);
    deepEqual(await outcome(sessions, "sh"), expected);
    const [ended] = await sessions.list();
    deepEqual([ended!.state, ended!.exit, ended!.attachedClients], ["exited", { code: 7 }, 0]);
    await rejects(sessions.send("sh", encoder.encode("x"), false), failsWith("wrong_state", /it has ended/));
    await sessions.remove("sh");
    deepEqual(await sessions.list(), []);
  });
});

Deno.test("a session goes on when all clients have gone, and each sees where it is", async () => {
  await withAgent(async (_client, sessions) => {
    await sessions.start({ name: "counter", ...sh("i=0; while read x; do i=$((i+1)); echo $i; done") });
    const first = await sessions.attach("counter", {});
    const seen = Promise.withResolvers<void>();
    const leaving = outcomeOf(first, (text) => text.includes("1\n") && seen.resolve());
    await sessions.send("counter", encoder.encode("x\n"), false);
    await seen.promise;
    first.close();
    await leaving.catch(() => {});
    await sessions.send("counter", encoder.encode("x\n"), true);
    deepEqual(await outcome(sessions, "counter"), { status: { code: 0 }, stdout: "1\n2\n", stderr: "" });
    const so = await sessions.attach("counter", { isFollowing: false, tailBytes: 7 });
    equal((await outcomeOf(so)).stdout, "2\n");
  });
});

Deno.test("many writers: what each sends stays together, one that waits holds up no signal", async () => {
  await withAgent(async (_client, sessions) => {
    await sessions.start({ name: "cat", ...sh("cat | tr -s a-z") });
    const letters = [..."abcdefgh"];
    await Promise.all(
      letters.map((letter) => sessions.send("cat", encoder.encode(letter.repeat(100_000)), false)),
    );
    await sessions.send("cat", new Uint8Array(0), true);
    const { stdout } = await outcome(sessions, "cat");
    deepEqual([...stdout].sort(), letters);

    const { pid } = await sessions.start({ name: "deaf", argv: ["sleep", "1000"] });
    const attached = await sessions.attach("deaf", {});
    const end = outcomeOf(attached);
    const writing = attached.writeStdin(new Uint8Array(4 * 1024 * 1024)).catch(() => {});
    const { exit } = await sessions.stop("deaf", false);
    deepEqual(exit, { signal: 15 });
    deepEqual((await end).status, { signal: 15 });
    await writing;
    ok(!isAlive(pid));
  });
});

Deno.test("a session with a terminal: its size, its keys, and a hang-up ends it", async () => {
  await withAgent(async (_client, sessions) => {
    await sessions.start({
      name: "tty",
      ...sh("trap 'stty size' WINCH; stty size; while :; do read x && echo got $x; done"),
      terminal: { rows: 30, columns: 100, term: "xterm" },
    });
    // Attaching changes the size: not before the shell has shown its first one.
    await until(async () => (await sessions.list())[0]!.outputBytes > 0, "the first size is shown");
    const attached = await sessions.attach("tty", { size: { rows: 20, columns: 90 } });
    let text = "";
    const end = outcomeOf(attached, (soFar) => text = soFar);
    await attached.writeStdin(encoder.encode("typed\r"));
    await until(() => /30 100[^]*20 90[^]*got typed/.test(text), "the keys and the size arrive");
    deepEqual((await sessions.stop("tty", false)).exit, { signal: 1 });
    await end;
  });
});

Deno.test("what cannot start says why, and leaves nothing", async () => {
  await withAgent(async (_client, sessions) => {
    await rejects(
      sessions.start({ argv: ["no-such-command"] }),
      failsWith("not_found", /no directory of PATH/),
    );
    await rejects(sessions.start({ argv: ["true"], cwd: "/nowhere" }), failsWith("not_found", /"\/nowhere"/));
    await rejects(
      sessions.start({ argv: ["true"], user: "nobody-at-all" }),
      failsWith("not_found", /nobody-at-all/),
    );
    deepEqual(await sessions.list(), []);
    await sessions.start({ name: "one", argv: ["sleep", "100"] });
    await rejects(
      sessions.start({ name: "one", argv: ["true"] }),
      failsWith("already_exists", /session one/),
    );
    await rejects(sessions.remove("one"), failsWith("wrong_state", /it runs/));
    await rejects(sessions.attach("two", {}), failsWith("not_found", /session two/));
    await rejects(async () => await sessions.attach("../one", {}), failsWith("invalid_argument", /name/));
    await sessions.stop("one", true);
  });
});

Deno.test("of much output the newest part is kept, and what is gone is told", async () => {
  await withAgent(async (_client, sessions) => {
    await sessions.start({ name: "loud", ...sh("yes 0123456789 | head -c 20000000; echo last") });
    let lost = 0;
    let kept = 0;
    let last = "";
    const attached = await sessions.attach("loud", {});
    // It stands still until more was printed than is kept: the command does not wait for it.
    const isTooMuch = async () => ((await sessions.list())[0]?.lostBytes ?? 0) > 10_000_000;
    await attached.finish({
      stdout: async (bytes) => {
        if (kept === 0) await until(isTooMuch, "the first output is gone");
        kept += bytes.length;
        last = new TextDecoder().decode(bytes.slice(-5));
      },
      stderr: () => Promise.resolve(),
      lost: (bytes) => {
        lost += bytes;
        return Promise.resolve();
      },
    });
    const [view] = await sessions.list();
    equal(last, "last\n");
    ok(lost > 0 && kept < 20_000_000, `${kept} seen, ${lost} lost`);
    ok(view!.outputBytes > SESSION_OUTPUT_BYTES / 2 && view!.outputBytes <= SESSION_OUTPUT_BYTES);
    ok(view!.lostBytes > 10_000_000);
  });
});

Deno.test("a session ends with its agent; the next one has its output and says that it is lost", async () => {
  const directory = await Deno.makeTempDir({ prefix: "banger-sessions-" });
  try {
    let pid = 0;
    await withAgent(async (_client, sessions) => {
      pid = (await sessions.start({ name: "long", ...sh("echo begun; sleep 1000") })).pid;
      await sessions.start({ name: "short", ...sh("echo done; exit 3") });
      equal((await outcome(sessions, "short")).stdout, "done\n");
    }, { sessionsDirectory: directory });
    ok(isAlive(pid));
    // This agent could still note that it went; one that is killed leaves what it wrote last.
    const path = `${directory}/long/session.json`;
    await until(() => Deno.readTextFileSync(path).includes(`"lost"`), "it is noted");
    const record = JSON.parse(await Deno.readTextFile(path)) as Record<string, unknown>;
    await Deno.writeTextFile(path, JSON.stringify({ ...record, state: "running" }));
    await withAgent(async (_client, sessions) => {
      const [long, short] = await sessions.list();
      deepEqual([long!.state, short!.state, short!.exit], ["lost", "exited", { code: 3 }]);
      await until(() => !isAlive(pid), "what was left of it is ended");
      let text = "";
      await rejects(
        outcomeOf(await sessions.attach("long", {}), (soFar) => text = soFar),
        failsWith("guest_failed", /the machine or its agent ended/),
      );
      match(text, /begun/);
      deepEqual((await outcome(sessions, "short")).status, { code: 3 });
    }, { sessionsDirectory: directory });
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});
