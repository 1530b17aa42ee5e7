import assert from "node:assert/strict";
import { VmEvents } from "../../../lib/vm/events.ts";
import { realHost } from "../../../lib/sys/host.ts";

async function withEvents(act: (events: VmEvents, path: string) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir();
  try {
    await act(new VmEvents(realHost()), `${directory}/events.jsonl`);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

const words = async (events: VmEvents, path: string) =>
  (await events.list(path)).map(({ event, detail }) => detail === undefined ? event : `${event}: ${detail}`);

Deno.test("events are there in their order, with what is said of them", () =>
  withEvents(async (events, path) => {
    assert.deepEqual(await events.list(path), []);
    await events.add(path, "created", "from image debian");
    await events.add(path, "started");
    assert.deepEqual(await words(events, path), ["created: from image debian", "started"]);
    assert.equal((await Deno.stat(path)).mode! & 0o777, 0o600);
  }));

Deno.test("a line that was cut off takes no other with it", () =>
  withEvents(async (events, path) => {
    await events.add(path, "created");
    await Deno.writeTextFile(path, '{"time":"2026-01-01T00:00:00.000Z","eve', { append: true });
    await events.add(path, "started");
    assert.deepEqual(await words(events, path), ["created", "started"]);
  }));

Deno.test("the last two hundred events are kept, in a file that does not grow", () =>
  withEvents(async (events, path) => {
    const detail = "x".repeat(300);
    for (let index = 0; index < 1000; index++) await events.add(path, `${index}`, detail);
    const kept = await events.list(path);
    assert.deepEqual([kept.length, kept[0]?.event, kept.at(-1)?.event], [200, "800", "999"]);
    assert.ok((await Deno.stat(path)).size < 140 * 1024);
  }));

Deno.test("an event that cannot be written fails nothing, and stands in the log", async () => {
  const told: unknown[] = [];
  const { files, clock } = realHost();
  const events = new VmEvents({ files, clock, log: (...words) => told.push(words) });
  await events.add("/nowhere/events.jsonl", "started");
  assert.equal(told.length, 1);
});
