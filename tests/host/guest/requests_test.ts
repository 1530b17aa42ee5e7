import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import { BangerError } from "../../../lib/base/errors.ts";
import type { Connection } from "../../../lib/base/host.ts";
import { AgentClient } from "../../../lib/guest/client/agent_client.ts";
import { realHost } from "../../../lib/sys/host.ts";
import { readToEnd, writeAll } from "../../unit/guest/memory_connection.ts";
import { run, until, withAgent } from "./agent_on_host.ts";

const encoder = new TextEncoder();

Deno.test("health tells build, boot and process", async () => {
  await withAgent(async (client) => {
    const health = await client.health(5000);
    const bootId = (await Deno.readTextFile("/proc/sys/kernel/random/boot_id")).trim();
    equal(health.bootId, bootId);
    deepEqual([health.version, health.commit, health.pid], ["1.2.3", "abc", Deno.pid]);
    ok(Math.abs(health.uptimeSeconds - parseFloat(await Deno.readTextFile("/proc/uptime"))) < 5);
  });
});

Deno.test("connect carries bytes both ways, half-closes included", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const serving = (async () => {
    for await (const connection of listener) {
      const received = await readToEnd(connection);
      await writeAll(connection, encoder.encode(`got ${received.length} bytes`));
      connection.close();
    }
  })();
  await withAgent(async (client) => {
    await Promise.all([0, 1, 300_000].map(async (size) => {
      const connection = await client.connect(listener.addr.port);
      await writeAll(connection, new Uint8Array(size));
      await connection.closeWrite();
      equal(new TextDecoder().decode(await readToEnd(connection)), `got ${size} bytes`);
      connection.close();
    }));
  });
  listener.close();
  await serving;
});

Deno.test("connect lets a server speak first, and ends with either side", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  await withAgent(async (client) => {
    const [connection, server] = await Promise.all([client.connect(listener.addr.port), listener.accept()]);
    await writeAll(server, encoder.encode("220 hello\r\n"));
    const buffer = new Uint8Array(100);
    equal(await connection.read(buffer), 11);
    connection.close();
    equal(await server.read(buffer).catch(() => null), null);
    server.close();

    const [second, secondServer] = await Promise.all([client.connect(listener.addr.port), listener.accept()]);
    secondServer.close();
    equal(await second.read(buffer), null);
    second.close();
  });
  listener.close();
});

Deno.test("connect to a port where nothing listens is connection_failed", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  listener.close();
  await withAgent(async (client) => {
    await rejects(client.connect(port), (failure) => {
      return failure instanceof BangerError && failure.code === "connection_failed" &&
        failure.message.includes(`${port}`);
    });
    await rejects(client.connect(0), (failure) => {
      return failure instanceof BangerError && failure.code === "invalid_argument";
    });
  });
});

Deno.test("sync answers once it is done", async () => {
  await withAgent((client) => client.sync());
});

/** The agent as its own process, with the permissions that it is compiled with and no more. */
async function withAgentProcess(act: (socketPath: string, pid: number) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "banger-agent-" });
  const socketPath = `${directory}/agent.sock`;
  const main = new URL("../../../agent/main.ts", import.meta.url).pathname;
  const permissions = ["--allow-ffi", "--allow-net", "--allow-read", `--allow-write=${directory}`];
  const child = new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "--no-prompt",
      "--no-config",
      "--no-check",
      "--unstable-vsock",
      ...permissions,
      main,
      socketPath,
    ],
    stdin: "null",
    stdout: "null",
    stderr: "piped",
  }).spawn();
  const said = new Response(child.stderr).text();
  try {
    await until(() => isSocket(socketPath), "the agent's socket");
    await act(socketPath, child.pid);
  } catch (failure) {
    child.kill("SIGKILL");
    throw new Error(`the agent said: ${await said}`, { cause: failure });
  }
  child.kill("SIGKILL");
  await child.status;
  await said;
  await Deno.remove(directory, { recursive: true });
}

function isSocket(path: string): boolean {
  try {
    return Deno.lstatSync(path).isSocket ?? false;
  } catch {
    return false;
  }
}

Deno.test("the agent's own process serves a socket for root only, with the permissions it has", async () => {
  await withAgentProcess(async (socketPath, pid) => {
    equal((await Deno.stat(socketPath)).mode! & 0o777, 0o600);
    const host = realHost();
    const sockets = { ...host.sockets, connectVsock: () => host.sockets.connectUnix(socketPath) };
    const client = new AgentClient({ ...host, sockets }, { kind: "vsock", cid: 3 });
    equal((await client.health(5000)).pid, pid);
    equal((await run(client, "echo $0")).stdout, "sh\n");
    const size = { rows: 24, columns: 80, term: "xterm" };
    equal((await run(client, { argv: ["tty"], terminal: size })).stdout.startsWith("/dev/pts/"), true);
    await client.sync();
  });
});

for (
  const [request, status, why] of [
    ["GET /nothing HTTP/1.1\r\n\r\n", "404", "an unknown path"],
    ["GET /v1/exec HTTP/1.1\r\n\r\n", "404", "a wrong method"],
    ["POST /v1/exec HTTP/1.1\r\n\r\n", "400", "an exec without a start"],
    [
      "POST /v1/exec HTTP/1.1\r\ncontent-length: 6\r\n\r\n\x01\0\0\0\x01{",
      "422",
      "an exec whose start is no JSON",
    ],
    ["POST /v1/connect?port=x HTTP/1.1\r\n\r\n", "400", "a port that is none"],
  ] as const
) {
  Deno.test(`the agent answers ${status} to ${why}`, async () => {
    await withAgentProcess(async (socketPath) => {
      const connection: Connection = await realHost().sockets.connectUnix(socketPath);
      await writeAll(connection, encoder.encode(request));
      const answer = new TextDecoder().decode(await readToEnd(connection));
      connection.close();
      ok(answer.startsWith(`HTTP/1.1 ${status} `), answer);
      ok(/\{"code":"\w+","message":"Cannot /.test(answer), answer);
    });
  });
}
