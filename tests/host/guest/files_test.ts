/** Single files by the agent's own requests, over the mux and the relay. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { BangerError } from "../../../lib/base/errors.ts";
import { FileClient } from "../../../lib/guest/client/file_client.ts";
import { hostWindow } from "../../../lib/guest/client/host_window.ts";
import { encodeTrailer, SLOT_BYTES, SLOTS, WINDOW_BYTES } from "../../../lib/guest/wire/window.ts";
import { realHost } from "../../../lib/sys/host.ts";
import { libc } from "../../../lib/sys/libc.ts";
import { withAgent } from "./agent_on_host.ts";

// Opened once for all, so that no test is the one that leaves it open.
libc();

const never = new AbortController().signal;
/** Not a multiple of any block. */
const CONTENT = new Uint8Array(1_500_007).map((_, i) => (i * 7 + (i >> 8)) & 0xff);

async function* inPieces(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  const sizes = [1, 300_000, 65_536, 700_000];
  for (let [at, i] = [0, 0]; at < bytes.length; i++) {
    const piece = bytes.subarray(at, at + sizes[i % sizes.length]!);
    yield piece;
    at += piece.length;
  }
}

async function within(
  act: (files: FileClient, directory: string, configDisk: string) => Promise<void>,
): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "banger-files-" });
  try {
    const configDisk = `${directory}.config`;
    await Deno.writeFile(configDisk, new Uint8Array(4096));
    await using _removed = { [Symbol.asyncDispose]: () => Deno.remove(configDisk) };
    await withAgent(
      (_client, _sessions, endpoint) => act(new FileClient(realHost(), endpoint), directory, configDisk),
      { configDisk },
    );
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

Deno.test("a file goes in and comes out as it is, with mode and time", async () => {
  await within(async (files, directory) => {
    const file = { path: directory, name: "ü &=%.bin", mode: 0o4751, mtimeSeconds: 1_234_567_890 };
    assert.equal(await files.send(file, () => inPieces(CONTENT), never), true);
    assert.deepEqual([...Deno.readDirSync(directory)].map(({ name }) => name), [file.name]);
    const path = `${directory}/${file.name}`;
    const { mode, mtime } = Deno.statSync(path);
    assert.equal((mode ?? 0) & 0o7777, 0o4751);
    assert.equal(mtime?.getTime(), 1_234_567_890_000);
    assert.ok(Buffer.from(Deno.readFileSync(path)).equals(CONTENT));
    using opened = (await files.open(path, undefined, never))!;
    assert.equal(opened.sizeBytes, CONTENT.length);
    assert.equal(opened.mode, 0o4751);
    assert.equal(opened.mtimeSeconds, 1_234_567_890);
    const parts: Uint8Array[] = [];
    for await (const part of opened.read()) parts.push(part.slice());
    assert.ok(Buffer.concat(parts).equals(CONTENT));
    // Over what is there, and nothing at all.
    assert.equal(await files.send({ ...file, path }, () => inPieces(new Uint8Array(0)), never), true);
    assert.equal(Deno.statSync(path).size, 0);
  });
});

Deno.test("what is no plain file or has no place is left to an archive, and nothing is made", async () => {
  await within(async (files, directory) => {
    await Deno.mkdir(`${directory}/sub/name`, { recursive: true });
    await Deno.symlink("/etc/passwd", `${directory}/link`);
    await new Deno.Command("mkfifo", { args: [`${directory}/pipe`] }).output();
    for (const name of ["link", "pipe", "sub", "absent", "x".repeat(4000)]) {
      assert.equal(await files.open(`${directory}/${name}`, undefined, never), undefined);
    }
    const content = () => {
      throw new Error("it was asked for");
    };
    const common = { name: "name", mode: 0o644, mtimeSeconds: 0 };
    for (const path of ["sub", "absent/", "absent/file", "link/file"]) {
      assert.equal(await files.send({ ...common, path: `${directory}/${path}` }, content, never), false);
    }
    if (Deno.uid() === 0) {
      const notTheirs = { ...common, path: directory, user: "nobody" };
      assert.equal(await files.send(notTheirs, content, never), false);
    }
    assert.deepEqual([...Deno.readDirSync(directory)].map(({ name }) => name).toSorted(), [
      "link",
      "pipe",
      "sub",
    ]);
  });
});

Deno.test("a file whose content ends early leaves nothing, and the old one stays", async () => {
  await within(async (files, directory) => {
    const path = `${directory}/file`;
    await Deno.writeTextFile(path, "old");
    async function* cutOff(): AsyncGenerator<Uint8Array> {
      yield CONTENT;
      throw new BangerError("wrong_state", "Cannot read on");
    }
    const file = { path, name: "file", mode: 0o644, mtimeSeconds: 0 };
    await assert.rejects(files.send(file, cutOff, never), /Cannot read on/);
    const aborted = new AbortController();
    async function* interrupted(): AsyncGenerator<Uint8Array> {
      yield CONTENT;
      aborted.abort(new BangerError("cancelled", "Cannot finish: interrupted"));
      yield CONTENT;
    }
    await assert.rejects(files.send(file, interrupted, aborted.signal), /interrupted/);
    // A third request is answered by the same agent; the stages of the first two go at their ends.
    const names = () => [...Deno.readDirSync(directory)].map(({ name }) => name);
    const deadlineMs = performance.now() + 20_000;
    while (names().length > 1 && performance.now() < deadlineMs) {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    assert.deepEqual(names(), ["file"]);
    assert.equal(Deno.readTextFileSync(path), "old");
  });
});

/** As a machine's start makes it. */
async function openWindow(configDisk: string) {
  using file = await Deno.open(configDisk, { write: true });
  await file.seek(4096 + WINDOW_BYTES, Deno.SeekMode.Start);
  await file.write(encodeTrailer(crypto.randomUUID()));
  return hostWindow(realHost().files, configDisk);
}

/** Whether a file here can be read past the page cache: it is what the agent reads its window with. */
async function hasDirectReads(path: string): Promise<boolean> {
  const args = [`if=${path}`, "of=/dev/null", "iflag=direct", "bs=4096", "count=1"];
  return (await new Deno.Command("dd", { args, stderr: "null" }).output()).success;
}

Deno.test("the agent takes files from its window, several at once and whatever their length", async () => {
  await within(async (files, directory, configDisk) => {
    const window = await openWindow(configDisk);
    const isDirect = await hasDirectReads(configDisk);
    if (!isDirect) console.log("no O_DIRECT in the directory for temporary files: the bytes go as they are");
    let taken = 0;
    const counting = {
      async take(name: string) {
        const slots = await window.take(name);
        if (slots) taken++;
        return slots;
      },
    };
    const whole = new Uint8Array((SLOTS + 2) * SLOT_BYTES + 4097).map((_, i) => (i >> 10) ^ (i * 11));
    const lengths = [0, 1, 4096, SLOT_BYTES, SLOT_BYTES + 512, whole.length];
    const sent = async (length: number) => {
      const file = { path: `${directory}/${length}`, name: "x", mode: 0o640, mtimeSeconds: 1 };
      const content = () => inPieces(whole.subarray(0, length));
      return await files.send(file, content, never, { window: counting });
    };
    for (const length of lengths) assert.equal(await sent(length), true);
    assert.equal(taken, isDirect ? lengths.length : 0);
    assert.deepEqual(await Promise.all(lengths.map(sent)), lengths.map(() => true));
    for (const length of lengths) {
      const there = Deno.readFileSync(`${directory}/${length}`);
      assert.ok(Buffer.from(there).equals(whole.subarray(0, length)), `${length} bytes`);
    }
    assert.equal([...Deno.readDirSync(directory)].length, lengths.length);
  });
});

Deno.test("a disk without a window is not read, and one that became too short fails the copy only", async () => {
  await within(async (files, directory, configDisk) => {
    const file = { path: `${directory}/file`, name: "file", mode: 0o644, mtimeSeconds: 0 };
    const asked: string[] = [];
    const none = { take: (name: string) => Promise.resolve(void asked.push(name)) };
    assert.equal(await files.send(file, () => inPieces(CONTENT), never, { window: none }), true);
    assert.deepEqual(asked, []);
    const window = await openWindow(configDisk);
    if (!(await hasDirectReads(configDisk))) return;
    async function* shortening(): AsyncGenerator<Uint8Array> {
      yield CONTENT.subarray(0, 1);
      await Deno.truncate(configDisk, 4096);
      yield CONTENT.subarray(1, 5000);
    }
    const short = { ...file, path: `${directory}/short` };
    await assert.rejects(files.send(short, shortening, never, { window }), /pread/);
    assert.deepEqual([...Deno.readDirSync(directory)].map(({ name }) => name), ["file"]);
    assert.ok(Buffer.from(Deno.readFileSync(file.path)).equals(CONTENT));
  });
});
