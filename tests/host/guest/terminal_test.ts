import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import { isAlive, outcomeOf, until, withAgent } from "./agent_on_host.ts";

const encoder = new TextEncoder();
const terminal = { rows: 33, columns: 99, term: "xterm-256color" };

Deno.test("a command on a terminal has it as its controlling one, with size and type", async () => {
  await withAgent(async (client) => {
    const script =
      "test -t 0 && test -t 1 && test -t 2 && stty size && echo $TERM && echo direct > /dev/tty; exit 3";
    const session = await client.exec({ argv: ["sh", "-c", script], terminal });
    deepEqual(await outcomeOf(session), {
      status: { code: 3 },
      stdout: "33 99\r\nxterm-256color\r\ndirect\r\n",
      stderr: "",
    });
  });
});

Deno.test("typing, resizing and Ctrl-C on a terminal", async () => {
  await withAgent(async (client) => {
    const script = 'trap "stty size" WINCH; trap "echo caught" INT; echo ready; ' +
      'read line; read line || read line; echo "got $line"; read line; echo "end $?"';
    const session = await client.exec({ argv: ["bash", "-c", script], terminal });
    let seen = "";
    const outcome = outcomeOf(session, (text) => seen = text);
    await until(() => seen.includes("ready"), "the script's start");
    await session.resize({ rows: 10, columns: 20 });
    await session.writeStdin(encoder.encode("first\n"));
    await until(() => seen.includes("10 20"), "the new size");
    await session.writeStdin(encoder.encode("\x03"));
    await until(() => seen.includes("caught"), "the trap");
    await session.writeStdin(encoder.encode("hëllo\n"));
    await until(() => seen.includes("got hëllo"), "the line");
    await session.closeStdin();
    deepEqual((await outcome).status, { code: 0 });
    ok(seen.endsWith("end 1\r\n"), JSON.stringify(seen));
  });
});

Deno.test("a terminal's output is complete, even where it is more than its buffers hold", async () => {
  await withAgent(async (client) => {
    const session = await client.exec({ argv: ["seq", "100000"], terminal });
    const { stdout, status } = await outcomeOf(session);
    deepEqual(status, { code: 0 });
    equal(stdout, Array.from({ length: 100_000 }, (_, i) => `${i + 1}\r\n`).join(""));
  });
});

Deno.test("a client that goes hangs up the terminal, jobs in the background included", async () => {
  await withAgent(async (client) => {
    const script = "set -m; sleep 1000 & echo $$ $!; sleep 1000";
    const session = await client.exec({ argv: ["bash", "-c", script], terminal });
    let pids: number[] = [];
    const outcome = outcomeOf(session, (text) => pids = text.trim().split(/\s+/).map(Number));
    await until(() => pids.length === 2, "two pids");
    session.close();
    await rejects(outcome);
    await until(() => !isAlive(pids[0]!), "the shell's end");
    // Its own group, as an interactive shell's jobs are: nohup's kin may live on, so it is ended here.
    if (isAlive(pids[1]!)) Deno.kill(pids[1]!, "SIGKILL");
  });
});

Deno.test("without a command there is a login shell", async () => {
  await withAgent(async (client) => {
    const session = await client.exec({ argv: [], terminal });
    const outcome = outcomeOf(session);
    await session.writeStdin(encoder.encode('echo "name: $0"; exit 4\n'));
    const { stdout, status } = await outcome;
    deepEqual(status, { code: 4 });
    ok(/name: -\w+\r\n/.test(stdout), JSON.stringify(stdout));
  });
});

Deno.test("a background process that keeps the terminal does not hold up the end", async () => {
  await withAgent(async (client) => {
    const startMs = performance.now();
    const script = "trap '' HUP; sleep 4 & echo done";
    const session = await client.exec({ argv: ["sh", "-c", script], terminal });
    equal((await outcomeOf(session)).stdout, "done\r\n");
    ok(performance.now() - startMs < 3000);
  });
});

Deno.test("a client that takes its time gets all of a terminal's output, kept open in the background or not", async () => {
  await withAgent(async (client) => {
    await Promise.all(["", "trap '' HUP; sleep 5 & "].map(async (background) => {
      const argv = ["sh", "-c", `${background}seq 90000`];
      const session = await client.exec({ argv, terminal });
      let total = 0;
      await session.finish({
        stdout: async (bytes) => {
          total += bytes.length;
          await new Promise((resolve) => setTimeout(resolve, 10));
        },
        stderr: () => Promise.resolve(),
      });
      equal(total, Array.from({ length: 90_000 }, (_, i) => `${i + 1}`.length + 2).reduce((a, b) => a + b));
    }));
  });
});
