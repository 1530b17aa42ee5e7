import assert from "node:assert/strict";
import { realHost } from "../../../lib/sys/host.ts";
import { ConsoleLog } from "../../../lib/guest/relay/console_log.ts";
import { followConsole } from "../../../lib/vm/console_follow.ts";

Deno.test("a console is followed from now on, over the log's turns, to its end", async () => {
  const host = realHost();
  const directory = await Deno.makeTempDir();
  try {
    const path = `${directory}/console.log`;
    let isOver = false;
    await using log = await ConsoleLog.open(host, path, 200);
    await log.append(new TextEncoder().encode("before\n"));
    // The follower's sleeps are where the guest writes.
    let line = 0;
    const clock = {
      sleep: async () => {
        await log.append(new TextEncoder().encode(`line ${++line}\n`));
        if (line === 60) isOver = true;
      },
    };
    let text = "";
    const signal = new AbortController().signal;
    for await (const chunk of followConsole({ files: host.files, clock }, path, () => isOver, signal)) {
      text += new TextDecoder().decode(chunk);
    }
    assert.equal(text, Array.from({ length: 60 }, (_, index) => `line ${index + 1}\n`).join(""));
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

Deno.test("a follower that leaves lets go of the log, one of an absent log ends with the VM", async () => {
  const host = realHost();
  const ended = new AbortController();
  const clock = { sleep: () => Promise.resolve(ended.abort()) };
  const chunks = followConsole(
    { files: host.files, clock },
    "/nowhere/console.log",
    () => false,
    ended.signal,
  );
  assert.deepEqual(await chunks.next(), { value: undefined, done: true });
  const over = followConsole(
    { files: host.files, clock },
    "/nowhere/x",
    () => true,
    new AbortController().signal,
  );
  assert.equal((await over.next()).done, true);
});
