import assert from "node:assert/strict";
import { OutputLog } from "../../../agent/sessions/output_log.ts";
import { EXEC_FRAME } from "../../../lib/guest/wire/exec.ts";
import { FrameDecoder } from "../../../lib/guest/wire/frames.ts";

const MAX_BYTES = 2 * 1024 * 1024;
const encoder = new TextEncoder();
const quiet = () => {};

async function inDirectory(act: (directory: string) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "banger-output-" });
  try {
    await act(directory);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

/** What a reader that does not follow gets. */
async function readAll(log: OutputLog, tailBytes = Infinity): Promise<{ text: string; lost: number }> {
  const decoder = new FrameDecoder();
  let [text, lost] = ["", 0];
  const signal = new AbortController().signal;
  await log.read({ tailBytes, isFollowing: false, signal }, (bytes) => {
    for (const { payload } of decoder.push(bytes)) text += new TextDecoder().decode(payload);
    return Promise.resolve();
  }, (bytes) => {
    lost += bytes;
    return Promise.resolve();
  });
  return { text, lost };
}

Deno.test("OutputLog gives whole frames from any end, and what an earlier agent has left", async () => {
  await inDirectory(async (directory) => {
    const log = new OutputLog(directory, MAX_BYTES, quiet);
    for (const word of ["one ", "two ", "three "]) log.append(EXEC_FRAME.stdout, encoder.encode(word));
    assert.equal((await readAll(log)).text, "one two three ");
    assert.equal((await readAll(log, 12)).text, "three ");
    assert.equal((await readAll(log, 3)).text, "");
    log.end();
    const later = await OutputLog.ofEarlier(directory, MAX_BYTES, 0, quiet);
    assert.deepEqual(await readAll(later), { text: "one two three ", lost: 0 });
  });
});

Deno.test("OutputLog keeps the newest, and tells a reader that comes from afar what is gone", async () => {
  await inDirectory(async (directory) => {
    const log = new OutputLog(directory, MAX_BYTES, quiet);
    const line = encoder.encode("x".repeat(60_000));
    for (let i = 0; i < 100; i++) log.append(EXEC_FRAME.stderr, line);
    assert.ok(log.keptBytes <= MAX_BYTES && log.keptBytes > MAX_BYTES / 2, `${log.keptBytes}`);
    assert.equal(log.keptBytes + log.lostBytes, 100 * (60_000 + 5));
    assert.equal((await readAll(log)).text.length % 60_000, 0);
    log.end();
  });
});

Deno.test("OutputLog loses what it cannot write, goes on when it can, and says how much went", async () => {
  await inDirectory(async (directory) => {
    const [inner, away] = [`${directory}/inner`, `${directory}/away`];
    await Deno.mkdir(inner);
    const log = new OutputLog(inner, MAX_BYTES, quiet);
    log.append(EXEC_FRAME.stdout, encoder.encode("before "));
    await Deno.rename(inner, away);
    const large = new Uint8Array(300_000);
    // What fits into the open file is still written; the next file cannot be made.
    for (let i = 0; i < 4; i++) log.append(EXEC_FRAME.stdout, large);
    assert.equal(log.lostBytes, 3 * 300_005);
    await Deno.rename(away, inner);
    log.append(EXEC_FRAME.stdout, encoder.encode("after"));
    const { text, lost } = await readAll(log);
    assert.ok(text.startsWith("before ") && text.endsWith("after"));
    assert.equal(lost, 3 * 300_005);
    log.end();
  });
});

Deno.test("OutputLog: a reader that follows gets all, then the end, or leaves when it likes", async () => {
  await inDirectory(async (directory) => {
    const log = new OutputLog(directory, MAX_BYTES, quiet);
    const leaving = new AbortController();
    let [followed, left] = ["", ""];
    const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes.subarray(5));
    const options = { tailBytes: Infinity, isFollowing: true };
    const following = log.read(
      { ...options, signal: new AbortController().signal },
      (bytes) => Promise.resolve(void (followed += text(bytes))),
      () => Promise.resolve(),
    );
    const reading = log.read(
      { ...options, signal: leaving.signal },
      (bytes) => Promise.resolve(void (left += text(bytes))),
      () => Promise.resolve(),
    );
    const later = () => new Promise((resolve) => setTimeout(resolve, 20));
    log.append(EXEC_FRAME.stdout, encoder.encode("one"));
    await later();
    leaving.abort();
    await reading;
    log.append(EXEC_FRAME.stdout, encoder.encode("two"));
    await later();
    log.end();
    await following;
    assert.deepEqual([followed, left], ["onetwo", "one"]);
  });
});
