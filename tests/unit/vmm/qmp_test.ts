import assert from "node:assert/strict";
import { BangerError } from "../../../lib/base/errors.ts";
import type { Connection, Host } from "../../../lib/base/host.ts";
import { LineReader } from "../../../lib/vmm/line_reader.ts";
import { QmpRefusal, QmpSession, runQmpCommands } from "../../../lib/vmm/qemu/qmp.ts";
import { systemClock } from "../../../lib/sys/clock.ts";

const GREETING = '{"QMP": {"version": {"qemu": {"major": 7}}, "capabilities": []}}\r\n';

/** A connection whose other side has said all this already, `chunkBytes` at a time. */
class Recorded implements Connection {
  readonly #bytes: Uint8Array;
  readonly #chunkBytes: number;
  #at = 0;
  written = "";
  closed = 0;

  constructor(text: string | Uint8Array, chunkBytes = 4096) {
    this.#bytes = typeof text === "string" ? new TextEncoder().encode(text) : text;
    this.#chunkBytes = chunkBytes;
  }
  read(into: Uint8Array): Promise<number | null> {
    const part = this.#bytes.subarray(this.#at, this.#at + Math.min(this.#chunkBytes, into.length));
    into.set(part);
    this.#at += part.length;
    return Promise.resolve(part.length === 0 ? null : part.length);
  }
  write(bytes: Uint8Array): Promise<number> {
    const taken = bytes.subarray(0, 7); // a socket may take less than it is given
    this.written += new TextDecoder().decode(taken);
    return Promise.resolve(taken.length);
  }
  closeWrite(): Promise<void> {
    return Promise.resolve();
  }
  close(): void {
    this.closed++;
  }
}

function hostWith(connection: Connection): Pick<Host, "sockets" | "clock"> {
  return {
    sockets: { connectUnix: () => Promise.resolve(connection) } as unknown as Host["sockets"],
    clock: systemClock,
  };
}

Deno.test("runQmpCommands() negotiates, skips events and returns each answer", async () => {
  const connection = new Recorded(
    GREETING + '{"return": {}, "id": 1}\n{"event": "RESUME"}\n{"return": {"status": "running"}, "id": 2}\n' +
      '{"event": "STOP"}\n{"return": {}, "id": 3}\n',
    5,
  );
  const commands = [{ name: "query-status" }, { name: "migrate", args: { uri: "exec:x" } }];
  const answers = await runQmpCommands(hostWith(connection), "/q", commands, { timeoutMs: 1000 });
  assert.deepEqual(answers, [{ status: "running" }, {}]);
  assert.equal(
    connection.written,
    '{"execute":"qmp_capabilities","id":1}\n{"execute":"query-status","id":2}\n' +
      '{"execute":"migrate","arguments":{"uri":"exec:x"},"id":3}\n',
  );
  assert.equal(connection.closed, 1);
});

Deno.test("runQmpCommands() passes on QEMU's refusal, with its text quoted", async () => {
  const connection = new Recorded(
    GREETING +
      '{"return": {}, "id": 1}\n{"id": 2, "error": {"class": "GenericError", "desc": "no\\u001b[2J"}}\n',
  );
  await assert.rejects(
    runQmpCommands(hostWith(connection), "/q", [{ name: "cont" }], { timeoutMs: 1000 }),
    (thrown) =>
      thrown instanceof QmpRefusal && thrown.errorClass === "GenericError" &&
      !thrown.message.includes("\x1b"),
  );
});

const GARBAGE: readonly [string, string | Uint8Array][] = [
  ["no greeting", '{"hello": {}, "id": 1}\n'],
  ["events without a greeting for ever", '{"event": "X"}\n'.repeat(10_001)],
  ["no JSON", "HTTP/1.1 200 OK\n"],
  ["a JSON list", "[]\n"],
  ["JSON null", "null\n"],
  ["bytes that are no UTF-8", new Uint8Array([0xff, 0xfe, 0x0a])],
  ["an answer to another command", `${GREETING}{"return": {}, "id": 9}\n`],
  ["neither return nor error", `${GREETING}{"id": 1}\n`],
  ["an error without text", `${GREETING}{"error": "bad", "id": 1}\n`],
  ["a line that never ends", "x".repeat(1024 * 1024 + 10)],
  ["events for ever", GREETING + '{"event": "X"}\n'.repeat(10_001)],
];

for (const [what, text] of GARBAGE) {
  Deno.test(`QmpSession refuses ${what}`, async () => {
    await assert.rejects(
      new QmpSession(new Recorded(text, 65536)).negotiate(),
      (thrown) => thrown instanceof BangerError && thrown.code === "corrupt_data",
    );
  });
}

Deno.test("QmpSession skips what QEMU had to say to a client that hung up", async () => {
  const late = '{"return": {}, "id": 1}\n{"event": "X"}\n{"error": {"class": "A", "desc": "b"}, "id": 2}\n';
  await new QmpSession(new Recorded(`${late}${GREETING}{"return": {}, "id": 1}\n`)).negotiate();
});

for (const text of ["", GREETING, GREETING.slice(0, 20)]) {
  Deno.test(`QmpSession says when QEMU hangs up after ${text.length} bytes`, async () => {
    await assert.rejects(
      new QmpSession(new Recorded(text)).negotiate(),
      (thrown) => thrown instanceof BangerError && thrown.code === "connection_failed",
    );
  });
}

Deno.test("runQmpCommands() gives up on a QEMU that is silent, and hangs up", async () => {
  const { promise, resolve } = Promise.withResolvers<null>();
  let closed = false;
  const silent = {
    read: () => promise,
    write: (bytes: Uint8Array) => Promise.resolve(bytes.length),
    close: () => {
      closed = true;
      resolve(null);
    },
  } as unknown as Connection;
  await assert.rejects(
    runQmpCommands(hostWith(silent), "/q", [], { timeoutMs: 20 }),
    (thrown) => thrown instanceof BangerError && /no answer within 20 ms/.test(thrown.message),
  );
  assert.ok(closed);
});

for (const chunkBytes of [1, 2, 3, 1000]) {
  Deno.test(`LineReader keeps lines whole that arrive ${chunkBytes} bytes at a time`, async () => {
    const connection = new Recorded("ä€𝄞\r\n\nlast\ncut off", chunkBytes);
    const reader = new LineReader((into) => connection.read(into), "a test", 100);
    assert.equal(await reader.next(), "ä€𝄞");
    assert.equal(await reader.next(), "");
    assert.equal(await reader.next(), "last");
    assert.equal(await reader.next(), undefined);
  });
}
