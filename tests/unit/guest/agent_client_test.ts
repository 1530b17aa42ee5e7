import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import { BangerError } from "../../../lib/base/errors.ts";
import type { Connection } from "../../../lib/base/host.ts";
import { AgentClient } from "../../../lib/guest/client/agent_client.ts";
import { CommandNotStarted } from "../../../lib/guest/client/exec_session.ts";
import { EXEC_FRAME } from "../../../lib/guest/wire/exec.ts";
import { encodeFrame } from "../../../lib/guest/wire/frames.ts";
import { encodeChunk, encodeResponseHead, LAST_CHUNK } from "../../../lib/guest/wire/http.ts";
import { fastClock } from "./fast_clock.ts";
import { readToEnd, writeAll } from "./memory_connection.ts";
import { MemorySockets } from "./memory_sockets.ts";

const encoder = new TextEncoder();
const OK = encoder.encode("OK 1\n");
const encodeJson = (value: unknown) => encoder.encode(JSON.stringify(value));
const HEALTH = {
  status: "ok",
  version: "1",
  commit: "c",
  bootId: "00e688c9-c73f-44c7-8e08-5a8a9e595f6c",
  uptimeSeconds: 1,
  pid: 1,
};
const discard = { stdout: () => Promise.resolve(), stderr: () => Promise.resolve() };

/** A guest behind a hybrid socket that sends `answer` and then does what `then` says. */
async function withGuest(
  answer: Uint8Array | string,
  act: (client: AgentClient, requests: string[]) => Promise<void>,
  then: (connection: Connection) => void = (connection) => connection.close(),
): Promise<void> {
  const sockets = new MemorySockets();
  const listener = await sockets.listenUnix("/agent");
  const requests: string[] = [];
  const serving = (async () => {
    for await (const connection of listener) {
      const bytes = typeof answer === "string" ? encoder.encode(answer) : answer;
      requests.push(await readText(connection));
      const isOk = bytes[0] === "O".charCodeAt(0);
      await writeAll(connection, bytes.subarray(0, isOk ? OK.length : undefined));
      if (isOk) {
        requests.push(await readText(connection));
        await writeAll(connection, bytes.subarray(OK.length));
      }
      await connection.closeWrite();
      then(connection);
    }
  })();
  await act(new AgentClient({ sockets, clock: fastClock }, { kind: "hybrid", path: "/agent" }), requests);
  listener.close();
  await serving;
}

async function readText(connection: Connection): Promise<string> {
  const buffer = new Uint8Array(100_000);
  const count = await connection.read(buffer);
  return new TextDecoder().decode(buffer.subarray(0, count ?? 0));
}

function answerOf(status: number, body: Uint8Array): Uint8Array {
  const head = encodeResponseHead(status, { "content-length": `${body.length}` });
  return Uint8Array.of(...OK, ...head, ...body);
}

function framesOf(...frames: Uint8Array[]): Uint8Array {
  const head = encodeResponseHead(200, { "transfer-encoding": "chunked" });
  const chunks = frames.flatMap((frame) => [...encodeChunk(frame)]);
  return Uint8Array.of(...OK, ...head, ...chunks, ...LAST_CHUNK);
}

const hasCode = (code: string) => (failure: unknown) =>
  failure instanceof BangerError && failure.code === code;

Deno.test("health() asks once the stream is open, and parses the answer", async () => {
  await withGuest(answerOf(200, encodeJson(HEALTH)), async (client, requests) => {
    deepEqual(await client.health(1000), HEALTH);
    deepEqual(requests, [
      "CONNECT 42070\n",
      "GET /healthz HTTP/1.1\r\nhost: banger\r\ncontent-length: 0\r\n\r\n",
    ]);
  });
});

for (
  const [answer, code, why] of [
    ["", "guest_unreachable", "says nothing"],
    ["NO\n", "guest_unreachable", "does not answer OK"],
    ["\x1b]0;x\x07".repeat(1000), "guest_unreachable", "floods the first line"],
    ["OK 1\n", "guest_unreachable", "ends after OK"],
    ["OK 1\nHTTP/1.1 200 OK\r\n", "guest_unreachable", "ends inside the head"],
    ["OK 1\nHTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{", "guest_unreachable", "ends inside the body"],
    ["OK 1\nSSH-2.0-x\r\n", "corrupt_data", "speaks something else"],
    [`OK 1\nHTTP/1.1 200 OK\r\n${"a: b\r\n".repeat(10_000)}`, "corrupt_data", "floods the head"],
    [
      "OK 1\nHTTP/1.1 200 OK\r\ncontent-length: 99999999\r\n\r\n" + "x".repeat(9000),
      "corrupt_data",
      "floods the body",
    ],
    ["OK 1\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]", "corrupt_data", "answers with no health"],
    ["OK 1\nHTTP/1.1 500 X\r\ncontent-length: 2\r\n\r\n[]", "internal", "answers with an error that is none"],
    [
      "OK 1\nHTTP/1.1 500 X\r\ncontent-length: 1\r\n\r\n{",
      "guest_failed",
      "answers with an error that is no JSON",
    ],
  ] as const
) {
  Deno.test(`health() fails where the guest ${why}`, async () => {
    await withGuest(answer, (client) => rejects(client.health(60_000), hasCode(code)));
  });
}

Deno.test("health() gives up at its deadline, whatever the guest leaves open", async () => {
  for (
    const answer of [
      "",
      "OK 1\n",
      "OK 1\nHTTP/1.1 200 OK\r\n",
      "OK 1\nHTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n",
    ]
  ) {
    const sockets = new MemorySockets();
    const listener = await sockets.listenUnix("/agent");
    const accepted: Connection[] = [];
    const serving = (async () => {
      for await (const connection of listener) {
        accepted.push(connection);
        await writeAll(connection, encoder.encode(answer));
      }
    })();
    const client = new AgentClient({ sockets, clock: fastClock }, { kind: "hybrid", path: "/agent" });
    await rejects(client.health(500), hasCode("guest_unreachable"));
    equal((await readToEnd(accepted[0]!)).length > 0, true, "the connection was closed");
    listener.close();
    await serving;
  }
});

Deno.test("untilHealthy() asks again until the agent is there", async () => {
  const sockets = new MemorySockets();
  const client = new AgentClient({ sockets, clock: fastClock }, { kind: "vsock", cid: 3 });
  const waiting = client.untilHealthy(60_000);
  await fastClock.sleep(200);
  const listener = await sockets.listenUnix("vsock:3:42070");
  const serving = (async () => {
    let count = 0;
    for await (const connection of listener) {
      // The first connection meets an agent that is just starting.
      if (count++ > 0) await writeAll(connection, answerOf(200, encodeJson(HEALTH)).subarray(5));
      connection.close();
    }
  })();
  deepEqual(await waiting, HEALTH);
  listener.close();
  await serving;
  await rejects(client.untilHealthy(200), hasCode("guest_unreachable"));
  const aborted = AbortSignal.abort(new BangerError("cancelled", "Cannot wait: it was cancelled"));
  await rejects(client.untilHealthy(60_000, aborted), hasCode("cancelled"));
});

Deno.test("connect() passes on why the guest refuses", async () => {
  const body = encodeJson({
    code: "connection_failed",
    message: "Cannot connect to port 80 in the guest: \x1b[2Jrefused",
  });
  await withGuest(answerOf(502, body), async (client, requests) => {
    await rejects(client.connect(80), (failure) => {
      ok(failure instanceof BangerError && failure.code === "connection_failed");
      equal(failure.message, "Cannot connect to port 80 in the guest: \ufffd[2Jrefused");
      return true;
    });
    ok(requests[1]!.startsWith("POST /v1/connect?port=80&address=127.0.0.1 HTTP/1.1\r\n"));
  });
});

Deno.test("an exec's output, end and order", async () => {
  const frames = framesOf(
    encodeFrame(EXEC_FRAME.started, encodeJson({ pid: 12 })),
    encodeFrame(EXEC_FRAME.stdout, encoder.encode("out")),
    encodeFrame(EXEC_FRAME.stderr, encoder.encode("err")),
    encodeFrame(EXEC_FRAME.exited, encodeJson({ code: 3 })),
  );
  await withGuest(frames, async (client, requests) => {
    const session = await client.exec({ argv: ["a", "b"], stdinClosed: true });
    const seen: string[] = [];
    const note = (name: string) => (bytes: Uint8Array) => {
      seen.push(`${name} ${new TextDecoder().decode(bytes)}`);
      return Promise.resolve();
    };
    deepEqual(await session.finish({ stdout: note("stdout"), stderr: note("stderr") }), { code: 3 });
    deepEqual(seen, ["stdout out", "stderr err"]);
    equal(session.pid, 12);
    await rejects(session.writeStdin(Uint8Array.of(1)), hasCode("connection_failed"));
    ok(requests[1]!.includes('{"argv":["a","b"],"stdinClosed":true}'), "one write has it all");
  });
});

Deno.test("a command that does not start says why and with which exit code", async () => {
  const failed = { error: { code: "not_found", message: "Cannot run it" }, exitCode: 127 };
  await withGuest(framesOf(encodeFrame(EXEC_FRAME.failed, encodeJson(failed))), async (client) => {
    const session = await client.exec({ argv: ["nope"] });
    await rejects(session.finish(discard), (failure) => {
      return failure instanceof CommandNotStarted && failure.commandExitCode === 127 &&
        failure.code === "not_found";
    });
  });
});

for (
  const [frames, code, why] of [
    [[], "guest_unreachable", "ends without a word"],
    [[encodeFrame(EXEC_FRAME.stdout, Uint8Array.of(1))], "guest_unreachable", "ends before the command does"],
    [[encodeFrame(0x77, Uint8Array.of(1))], "corrupt_data", "sends a frame of an unknown type"],
    [[encodeFrame(EXEC_FRAME.stdin, Uint8Array.of(1))], "corrupt_data", "sends a frame of the host's"],
    [[encodeFrame(EXEC_FRAME.exited, encodeJson({ code: 1000 }))], "corrupt_data", "sends no exit code"],
    [
      [encodeFrame(EXEC_FRAME.stdinWindow, Uint8Array.of(0, 0, 0, 1))],
      "corrupt_data",
      "gives more window than was used",
    ],
    [[Uint8Array.of(EXEC_FRAME.exited, 0xff, 0xff, 0xff, 0xff)], "corrupt_data", "claims 4 GiB"],
  ] as const
) {
  Deno.test(`exec fails where the guest ${why}`, async () => {
    await withGuest(framesOf(...frames), async (client) => {
      const session = await client.exec({ argv: ["x"] });
      await rejects(session.finish(discard), hasCode(code));
    });
  });
}

Deno.test("a sink that fails ends the command", async () => {
  const frames = framesOf(encodeFrame(EXEC_FRAME.stdout, encoder.encode("x")));
  let guestEnd: Connection | undefined;
  await withGuest(frames, async (client) => {
    const session = await client.exec({ argv: ["yes"] });
    const sink = { ...discard, stdout: () => Promise.reject(new Error("stdout is gone")) };
    await rejects(session.finish(sink), /stdout is gone/);
    equal(await guestEnd!.read(new Uint8Array(1)), null);
  }, (connection) => guestEnd = connection);
});

Deno.test("stdin waits for the guest's window", async () => {
  const head = encodeResponseHead(200, { "transfer-encoding": "chunked" });
  await withGuest(Uint8Array.of(...OK, ...head), async (client) => {
    const session = await client.exec({ argv: ["sleep"] });
    let written = 0;
    const writing = (async () => {
      for (;;) {
        await session.writeStdin(new Uint8Array(64 * 1024));
        written += 64 * 1024;
      }
    })();
    const failure = rejects(writing, hasCode("connection_failed"));
    await fastClock.sleep(500);
    equal(written, 512 * 1024);
    session.close();
    await failure;
  }, (connection) => void readToEnd(connection));
});
