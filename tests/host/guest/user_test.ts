import { deepEqual, equal, match } from "node:assert/strict";
import { run, withAgent } from "./agent_on_host.ts";

const isRoot = Deno.uid() === 0;
if (!isRoot) console.log("skipped: commands as other users, which only root may start");

const USER = "65532:65531";
const test = (name: string, fn: () => Promise<void>) => Deno.test({ name, ignore: !isRoot, fn });

test("a command runs as the user it asks for, with no way back to root", async () => {
  await withAgent(async (client) => {
    const script =
      "id -u; id -g; id -G; grep -E '^(Uid|Gid|Groups|CapEff|CapPrm|CapInh|CapAmb):' /proc/self/status";
    const { stdout, status } = await run(client, { argv: ["sh", "-c", script], user: USER, cwd: "/" });
    deepEqual(status, { code: 0 });
    const [uid, gid, groups, ...lines] = stdout.trim().split("\n");
    deepEqual([uid, gid, groups], ["65532", "65531", "65531"]);
    const none = "0000000000000000";
    deepEqual(lines.map((line) => line.split(/\s+/).filter(Boolean)), [
      ["Uid:", "65532", "65532", "65532", "65532"],
      ["Gid:", "65531", "65531", "65531", "65531"],
      ["Groups:"],
      ["CapInh:", none],
      ["CapPrm:", none],
      ["CapEff:", none],
      ["CapAmb:", none],
    ]);
    // And the agent is root as before.
    equal((await run(client, "id -u")).stdout, "0\n");
  });
});

test("the other user's streams and terminal are its own, its home is where it may be", async () => {
  await withAgent(async (client) => {
    const script = "echo out >/dev/stdout; echo err >/dev/stderr; echo $PWD $HOME $USER";
    deepEqual(await run(client, { argv: ["sh", "-c", script], user: USER }), {
      status: { code: 0 },
      stdout: "out\n/ / 65532\n",
      stderr: "err\n",
    });
    const terminal = { rows: 24, columns: 80, term: "xterm" };
    const { stdout } = await run(client, {
      argv: ["sh", "-c", "tty >/dev/tty; id -u"],
      user: USER,
      terminal,
    });
    match(stdout, /^\/dev\/pts\/\d+\r\n65532\r\n$/);
  });
});

test("what only root may run, another user may not", async () => {
  await withAgent(async (client) => {
    const refused = await run(client, { argv: ["cat", "/etc/shadow"], user: USER });
    equal(refused.stdout, "");
    deepEqual(refused.status, { code: 1 });
  });
});
