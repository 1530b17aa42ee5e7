import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import type { Connection } from "../../../lib/base/host.ts";
import { AgentClient } from "../../../lib/guest/client/agent_client.ts";
import { type GuestStream, openGuestStream } from "../../../lib/guest/client/endpoint.ts";
import { readConsole } from "../../../lib/guest/relay/console_log.ts";
import { type RelayOptions, runRelay } from "../../../lib/guest/relay/relay.ts";
import { MuxGuest } from "../../../lib/guest/wire/mux_guest.ts";
import { realHost } from "../../../lib/sys/host.ts";
import { fastClock } from "./fast_clock.ts";
import { randomBytes, readToEnd, seededRandom, writeAll } from "./memory_connection.ts";
import { MemorySockets } from "./memory_sockets.ts";

const encoder = new TextEncoder();
const { files } = realHost();
const never = new AbortController().signal;

interface Relay {
  readonly sockets: MemorySockets;
  readonly consoleLogPath: string;
  readonly stop: AbortController;
  readonly running: Promise<void>;
}

async function withRelay(change: Partial<RelayOptions>, act: (relay: Relay) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "banger-relay-" });
  const sockets = new MemorySockets();
  const stop = new AbortController();
  const host = { sockets, files, clock: fastClock, log: () => {} };
  const consoleLogPath = `${directory}/console.log`;
  const options = {
    consoleSocketPath: "/c",
    serialSocketPath: "/s",
    hybridSocketPath: "/h",
    consoleLogPath,
    consoleLogMaxBytes: 10_000,
    ...change,
  };
  const ready = Promise.withResolvers<void>();
  const running = runRelay(host, options, stop.signal, ready.resolve);
  try {
    await ready.promise;
    await act({ sockets, consoleLogPath, stop, running });
  } finally {
    stop.abort();
    await running;
    await Deno.remove(directory, { recursive: true });
  }
}

/** An echoing guest behind the serial socket. */
async function startGuest(sockets: MemorySockets): Promise<{ end: Connection; running: Promise<void> }> {
  const end = await sockets.connectUnix("/s");
  const running = new MuxGuest(
    { clock: fastClock, log: () => {} },
    end,
    (port) =>
      port === 7 ? (stream) => void echo(stream) : port === 9 ? (stream) => void greet(stream) : undefined,
  ).run();
  return { end, running };
}

/** A stream to the echoing port that has got its first byte back. */
async function openEcho(sockets: MemorySockets): Promise<GuestStream> {
  const endpoint = { kind: "hybrid", path: "/h" } as const;
  const opened = await openGuestStream({ sockets }, endpoint, 7, encoder.encode("x"), never);
  equal((await opened.reader.readSome(10))?.length, 1);
  return opened;
}

async function greet(stream: Connection): Promise<void> {
  await writeAll(stream, encoder.encode("220 hello")).catch(() => {});
}

async function echo(stream: Connection): Promise<void> {
  const buffer = new Uint8Array(10_000);
  try {
    for (let count; (count = await stream.read(buffer)) !== null;) {
      await writeAll(stream, buffer.subarray(0, count));
    }
    await stream.closeWrite();
  } catch {
    // The client has gone.
  }
  stream.close();
}

Deno.test("the relay carries streams of clients, half-closes included", async () => {
  await withRelay({}, async ({ sockets }) => {
    const guest = await startGuest(sockets);
    await Promise.all(Array.from({ length: 5 }, async (_, i) => {
      const content = randomBytes(seededRandom(i), 300_000);
      const first = content.subarray(0, 1000);
      const { connection, reader } = await openGuestStream(
        { sockets },
        { kind: "hybrid", path: "/h" },
        7,
        first,
        never,
      );
      const sending = writeAll(connection, content.subarray(1000)).then(() => connection.closeWrite());
      const parts: Uint8Array[] = [];
      for (let part; (part = await reader.readSome(Infinity)) !== null;) parts.push(part.slice());
      await sending;
      connection.close();
      ok(parts.flatMap((part) => [...part]).every((byte, at) => byte === content[at]));
      equal(parts.reduce((sum, part) => sum + part.length, 0), content.length);
    }));
    guest.end.close();
    await guest.running;
  });
});

Deno.test("a client that comes before the guest waits for it", async () => {
  await withRelay({}, async ({ sockets }) => {
    const waiting = openGuestStream(
      { sockets },
      { kind: "hybrid", path: "/h" },
      7,
      encoder.encode("early"),
      never,
    );
    await fastClock.sleep(200);
    const guest = await startGuest(sockets);
    const { connection, reader } = await waiting;
    equal(new TextDecoder().decode((await reader.readSome(100))!), "early");
    connection.close();
    guest.end.close();
    await guest.running;
  });
});

Deno.test("a port that the guest refuses ends the client's connection, and no other", async () => {
  await withRelay({}, async ({ sockets }) => {
    const guest = await startGuest(sockets);
    const other = await openGuestStream(
      { sockets },
      { kind: "hybrid", path: "/h" },
      7,
      encoder.encode("a"),
      never,
    );
    const refused = await openGuestStream(
      { sockets },
      { kind: "hybrid", path: "/h" },
      8,
      encoder.encode("b"),
      never,
    );
    equal(await refused.reader.readSome(10), null);
    refused.connection.close();
    equal((await other.reader.readSome(10))?.length, 1);
    other.connection.close();
    guest.end.close();
    await guest.running;
  });
});

Deno.test("a client that waits for the guest to speak first gets its stream, too", async () => {
  await withRelay({}, async ({ sockets }) => {
    const guest = await startGuest(sockets);
    const opened = await openGuestStream(
      { sockets },
      { kind: "hybrid", path: "/h" },
      9,
      new Uint8Array(0),
      never,
    );
    equal(new TextDecoder().decode((await opened.reader.readSome(100))!), "220 hello");
    opened.connection.close();
    guest.end.close();
    await guest.running;
  });
});

for (
  const [line, why] of [
    ["CONNECT 0\n", "port 0"],
    ["CONNECT 65536\n", "a port over 65535"],
    ["CONNECT 7 \n", "trailing space"],
    ["connect 7\n", "lower case"],
    ["GET / HTTP/1.1\r\n\r\n", "an HTTP request"],
    ["C".repeat(1000), "a line without an end"],
    ["\n", "an empty line"],
  ] as const
) {
  Deno.test(`the hybrid socket closes on ${why}`, async () => {
    await withRelay({}, async ({ sockets }) => {
      const guest = await startGuest(sockets);
      const client = await sockets.connectUnix("/h");
      await writeAll(client, encoder.encode(line)).catch(() => {});
      equal((await readToEnd(client)).length, 0);
      client.close();
      guest.end.close();
      await guest.running;
    });
  });
}

Deno.test("a client that says nothing is closed after a while, and one that goes is forgotten", async () => {
  await withRelay({}, async ({ sockets }) => {
    const silent = await sockets.connectUnix("/h");
    const gone = await sockets.connectUnix("/h");
    await writeAll(gone, encoder.encode("CONNECT 7\n"));
    gone.close();
    equal((await readToEnd(silent)).length, 0);
    silent.close();
  });
});

Deno.test("a client that only waits for the guest is no work for it", async () => {
  await withRelay({}, async ({ sockets }) => {
    const clock = fastClock;
    const client = new AgentClient({ sockets, clock }, { kind: "hybrid", path: "/h" });
    const waiting = client.untilTaken(never);
    const opened: number[] = [];
    const end = await sockets.connectUnix("/s");
    const guest = new MuxGuest({ clock, log: () => {} }, end, (port) => {
      opened.push(port);
      return (stream) => void echo(stream);
    }).run();
    await waiting;
    const seven = await openEcho(sockets);
    await fastClock.sleep(50); // longer than the relay waits for a client's first bytes
    deepEqual(opened, [7]);
    seven.connection.close();
    end.close();
    await guest;
  });
});

Deno.test("the guest's end of the serial connection ends its streams; the next guest serves new ones", async () => {
  await withRelay({}, async ({ sockets }) => {
    for (let round = 0; round < 3; round++) {
      const guest = await startGuest(sockets);
      const opened = await openEcho(sockets);
      guest.end.close();
      equal(await opened.reader.readSome(10), null);
      opened.connection.close();
      await guest.running;
    }
  });
});

Deno.test("the console is kept within its cap, with its end readable in order", async () => {
  await withRelay({}, async ({ sockets, consoleLogPath }) => {
    const machine = await sockets.connectUnix("/c");
    const line = (n: number) => `line ${String(n).padStart(6, "0")}\n`;
    for (let n = 0; n < 5000; n++) await writeAll(machine, encoder.encode(line(n)));
    machine.close();
    const last = encoder.encode(line(4999));
    let text = "";
    while (!text.endsWith(line(4999))) {
      await fastClock.sleep(20);
      text = new TextDecoder().decode(await readConsole({ files }, consoleLogPath, 1_000_000));
    }
    ok(text.length <= 10_000 && text.length >= 5000, `${text.length} bytes`);
    const numbers = text.split("\n").slice(1, -1).map((row) => Number(row.slice(5)));
    deepEqual(numbers, Array.from({ length: numbers.length }, (_, i) => 5000 - numbers.length + i));
    deepEqual(await readConsole({ files }, consoleLogPath, last.length), last);
    let stored = 0;
    for await (const entry of Deno.readDir(consoleLogPath.slice(0, consoleLogPath.lastIndexOf("/")))) {
      stored +=
        (await Deno.stat(`${consoleLogPath.slice(0, consoleLogPath.lastIndexOf("/"))}/${entry.name}`)).size;
    }
    ok(stored <= 10_000, `${stored} bytes on disk`);
  });
});

Deno.test("a relay that starts again goes on with the console it finds", async () => {
  const directory = await Deno.makeTempDir({ prefix: "banger-relay-" });
  const consoleLogPath = `${directory}/console.log`;
  for (const text of ["one ", "two"]) {
    await withRelay({ consoleLogPath }, async ({ sockets }) => {
      const machine = await sockets.connectUnix("/c");
      await writeAll(machine, encoder.encode(text));
      let seen = "";
      while (!seen.endsWith(text)) {
        await fastClock.sleep(20);
        seen = new TextDecoder().decode(await readConsole({ files }, consoleLogPath, 100));
      }
      machine.close();
    });
  }
  equal(new TextDecoder().decode(await readConsole({ files }, consoleLogPath, 100)), "one two");
  await Deno.remove(directory, { recursive: true });
});

Deno.test("readConsole() gives nothing where there is no log", async () => {
  equal((await readConsole({ files }, "/nonexistent/console.log", 100)).length, 0);
});

Deno.test("the relay ends by itself after its machine was away for long, not before", async () => {
  await withRelay({ idleTimeoutMs: 2000 }, async ({ sockets, running }) => {
    const machine = await sockets.connectUnix("/c");
    await fastClock.sleep(5000);
    await writeAll(machine, encoder.encode("still here"));
    machine.close();
    const startMs = fastClock.monotonicMs();
    await running;
    ok(fastClock.monotonicMs() - startMs >= 1900);
    await rejects(sockets.connectUnix("/h"));
  });
});
