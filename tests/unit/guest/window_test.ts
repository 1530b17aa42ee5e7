/** Files through the window: the host's side, against guests that keep to the protocol and guests that do not. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { BangerError } from "../../../lib/base/errors.ts";
import type { Connection, Files } from "../../../lib/base/host.ts";
import { FileClient } from "../../../lib/guest/client/file_client.ts";
import { type HostWindow, hostWindow } from "../../../lib/guest/client/host_window.ts";
import { ByteReader } from "../../../lib/guest/wire/byte_reader.ts";
import {
  type Body,
  bodyOf,
  encodeChunk,
  encodeResponseHead,
  LAST_CHUNK,
  readRequestHead,
} from "../../../lib/guest/wire/http.ts";
import {
  encodeTrailer,
  parseTrailer,
  SLOT_BYTES,
  slotOffset,
  SLOTS,
  TRAILER_BYTES,
  WINDOW_BYTES,
  WINDOW_FIELD,
} from "../../../lib/guest/wire/window.ts";
import { realHost } from "../../../lib/sys/host.ts";
import { libc } from "../../../lib/sys/libc.ts";
import { fastClock } from "./fast_clock.ts";
import { writeAll } from "./memory_connection.ts";
import { MemorySockets } from "./memory_sockets.ts";

// Opened once for all, so that no test is the one that leaves it open.
libc();

const NAME = "7e57ab1e-0000-4000-8000-0123456789ab";
const OTHER = "7e57ab1e-0000-4000-8000-ba9876543210";
const TAR_BYTES = 8192;
const DISK_BYTES = TAR_BYTES + WINDOW_BYTES + TRAILER_BYTES;
const FILE = { path: "/root/file", name: "file", mode: 0o644, mtimeSeconds: 0 };
/** More slots than there are at once, the last of them not full. */
const CONTENT = new Uint8Array((2 * SLOTS + 1) * SLOT_BYTES + 12_345).map((_, i) => (i >> 8) + i * 7);
const never = new AbortController().signal;
const encoder = new TextEncoder();

async function* inPieces(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  const sizes = [1, 300_000, 65_536, 1_700_000];
  for (let [at, i] = [0, 0]; at < bytes.length; i++) {
    const piece = bytes.subarray(at, at + sizes[i % sizes.length]!);
    yield piece;
    at += piece.length;
  }
}

/** What one request is served with. */
interface Guest {
  readonly body: Body;
  readonly target: string;
  /** In the order that the disk's file has it now. */
  slot(index: number, lengthBytes: number): Uint8Array;
  say(text: string): Promise<void>;
  /** @returns undefined at the body's end */
  length(): Promise<number | undefined>;
  rest(): Promise<Uint8Array>;
}

interface Bench {
  readonly client: FileClient;
  readonly window: HostWindow;
  readonly disk: string;
}

/** A guest that serves one request and says what came of it. */
async function withGuest<T>(
  fields: Readonly<Record<string, string>>,
  serve: (guest: Guest) => Promise<T>,
  act: (bench: Bench) => Promise<void>,
): Promise<T> {
  const directory = await Deno.makeTempDir({ prefix: "banger-window-" });
  const disk = `${directory}/config.tar`;
  try {
    await Deno.writeFile(disk, new Uint8Array(TAR_BYTES).fill(0x74));
    using file = await Deno.open(disk, { read: true, write: true });
    await file.seek(TAR_BYTES + WINDOW_BYTES, Deno.SeekMode.Start);
    await file.write(encodeTrailer(NAME));
    const sockets = new MemorySockets();
    const listener = await sockets.listenUnix("/agent");
    const serving = serveOne(listener, fields, file, serve);
    serving.catch(() => {}); // awaited below, unless the test fails before
    const client = new FileClient({ sockets, clock: fastClock }, { kind: "hybrid", path: "/agent" });
    await act({ client, disk, window: hostWindow(realHost().files, disk) });
    listener.close();
    const served = await serving;
    assert.ok(Deno.readFileSync(disk).subarray(0, TAR_BYTES).every((byte) => byte === 0x74));
    assert.equal(Deno.statSync(disk).size, DISK_BYTES);
    return served;
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

async function serveOne<T>(
  listener: AsyncIterable<Connection>,
  fields: Readonly<Record<string, string>>,
  file: Deno.FsFile,
  serve: (guest: Guest) => Promise<T>,
): Promise<T> {
  for await (const connection of listener) {
    const reader = new ByteReader(connection);
    await reader.readLine(100);
    await writeAll(connection, encoder.encode("OK 1\n"));
    const head = await readRequestHead(reader);
    await writeAll(connection, encodeResponseHead(200, { "transfer-encoding": "chunked", ...fields }));
    try {
      const served = await serve(guestOf(connection, bodyOf(head!.fields, reader), head!.target, file));
      await writeAll(connection, LAST_CHUNK).catch(() => {}); // the host may have left
      return served;
    } finally {
      connection.close();
    }
  }
  throw new Error("nobody asked");
}

function guestOf(connection: Connection, body: Body, target: string, file: Deno.FsFile): Guest {
  return {
    body,
    target,
    slot(index, lengthBytes) {
      const bytes = new Uint8Array(lengthBytes);
      file.seekSync(slotOffset(DISK_BYTES, index), Deno.SeekMode.Start);
      file.readSync(bytes);
      return bytes;
    },
    say: (text) => writeAll(connection, encodeChunk(encoder.encode(text))),
    async length() {
      const bytes = new Uint8Array(4);
      for (let filled = 0; filled < 4;) {
        const count = await body.readInto(bytes.subarray(filled));
        if (count === null) return undefined;
        filled += count;
      }
      return new DataView(bytes.buffer).getUint32(0);
    },
    async rest() {
      const parts: Uint8Array[] = [];
      for (let part; (part = await body.read()) !== null;) parts.push(part.slice());
      return Buffer.concat(parts);
    },
  };
}

/** As the agent. @returns the file, and how many slots it came in */
async function honest({ slot, length, rest, say }: Guest): Promise<{ file: Uint8Array; slots: number }> {
  const parts: Uint8Array[] = [];
  for (let index = 0;; index++) {
    const lengthBytes = await length();
    if (lengthBytes) {
      parts.push(slot(index, lengthBytes));
      await say("\n");
      continue;
    }
    if (lengthBytes === 0) parts.push(await rest());
    await say("{}");
    return { file: Buffer.concat(parts), slots: index };
  }
}

const same = (file: Uint8Array) => assert.ok(Buffer.from(file).equals(CONTENT));
const hasCode = (code: string) => (failure: unknown) =>
  failure instanceof BangerError && failure.code === code;

Deno.test("parseTrailer() takes its own and nothing else", () => {
  assert.equal(parseTrailer(encodeTrailer(NAME)), NAME);
  const layout = `banger-window ${SLOTS} ${SLOT_BYTES}`;
  const texts = [
    "",
    `${layout} \n`,
    `banger-window ${SLOTS} ${SLOT_BYTES / 2} ${NAME}\n`,
    `${layout} ${NAME}`,
  ];
  for (const text of [...texts, `${layout} ${NAME} \n`, `${"x".repeat(4000)}\n`]) {
    const trailer = new Uint8Array(TRAILER_BYTES);
    trailer.set(encoder.encode(text));
    assert.equal(parseTrailer(trailer), undefined, text);
  }
});

Deno.test("slots lie between tar and trailer, one behind the other", () => {
  const offsets = Array.from({ length: SLOTS + 1 }, (_, index) => slotOffset(DISK_BYTES, index));
  assert.equal(offsets[0], TAR_BYTES);
  assert.equal(offsets[SLOTS], TAR_BYTES);
  assert.equal(offsets[SLOTS - 1]! + SLOT_BYTES, DISK_BYTES - TRAILER_BYTES);
});

Deno.test("a file goes in through the window, slot for slot, and frees it", async () => {
  const { file, slots } = await withGuest({ [WINDOW_FIELD]: NAME }, honest, async ({ client, window }) => {
    assert.equal(await client.send(FILE, () => inPieces(CONTENT), never, { window }), true);
    await using again = await window.take(NAME);
    assert.ok(again);
    assert.equal(await window.take(NAME), undefined);
  });
  same(file);
  assert.equal(slots, 2 * SLOTS + 2);
});

Deno.test("an empty file has no slots", async () => {
  const { file, slots } = await withGuest({ [WINDOW_FIELD]: NAME }, honest, async ({ client, window }) => {
    assert.equal(await client.send(FILE, () => inPieces(new Uint8Array(0)), never, { window }), true);
  });
  assert.deepEqual([file.length, slots], [0, 0]);
});

Deno.test("without a window of the guest's the bytes go as they are", async () => {
  const plain = async ({ rest, say, target }: Guest) => {
    const file = await rest();
    await say("{}");
    return { file, target };
  };
  const { file, target } = await withGuest({}, plain, async ({ client, window }) => {
    assert.equal(await client.send(FILE, () => inPieces(CONTENT), never, { window }), true);
  });
  same(file);
  assert.match(target, /&window=1$/);
  const unasked = await withGuest({ [WINDOW_FIELD]: NAME }, plain, async ({ client }) => {
    assert.equal(await client.send(FILE, () => inPieces(CONTENT), never), true);
  });
  same(unasked.file);
  assert.doesNotMatch(unasked.target, /window/);
});

Deno.test("where the window cannot be had the bytes go as they are, or not at all where it is needed", async () => {
  const cases = {
    "somebody else has it": async ({ window }: Bench) => await window.take(NAME),
    "the file is another machine's": async ({ disk }: Bench) => {
      using file = await Deno.open(disk, { write: true });
      await file.seek(TAR_BYTES + WINDOW_BYTES, Deno.SeekMode.Start);
      await file.write(encodeTrailer(OTHER));
    },
  };
  for (const [name, prepare] of Object.entries(cases)) {
    const { file, slots } = await withGuest({ [WINDOW_FIELD]: NAME }, honest, async (bench) => {
      await using _held = await prepare(bench) ?? new AsyncDisposableStack();
      const { client, window } = bench;
      assert.equal(await client.send(FILE, () => inPieces(CONTENT), never, { window }), true);
    });
    same(file);
    assert.equal(slots, 0, name);
    await withGuest({ [WINDOW_FIELD]: NAME }, ({ body }) => body.read().catch(() => null), async (bench) => {
      await using _held = await prepare(bench) ?? new AsyncDisposableStack();
      const { client, window } = bench;
      const content = () => {
        throw new Error("it was asked for");
      };
      assert.equal(await client.send(FILE, content, never, { window, needsWindow: true }), false);
    });
  }
});

Deno.test("hostWindow() makes no file, and takes none that is too short or no file", async () => {
  const directory = await Deno.makeTempDir({ prefix: "banger-window-" });
  try {
    const take = (path: string) => hostWindow(realHost().files, path).take(NAME);
    assert.equal(await take(`${directory}/absent`), undefined);
    assert.equal(await take(directory), undefined);
    await Deno.writeFile(`${directory}/short`, encodeTrailer(NAME));
    assert.equal(await take(`${directory}/short`), undefined);
    assert.deepEqual([...Deno.readDirSync(directory)].map(({ name }) => name), ["short"]);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

Deno.test("a host's disk that is full in the middle costs nothing of the file", async () => {
  for (const writesLeft of [0, 1, 7]) {
    const { file } = await withGuest({ [WINDOW_FIELD]: NAME }, honest, async ({ client, disk }) => {
      const { files } = realHost();
      let left = writesLeft;
      const full: Pick<Files, "stat" | "tryLock" | "open"> = {
        ...files,
        async open(path, options) {
          const opened = await files.open(path, options);
          const writeAt = async (bytes: Uint8Array, at: number) => {
            if (left-- <= 0) throw new BangerError("no_space", "Cannot write: the disk is full");
            await opened.writeAt(bytes, at);
          };
          return {
            writeAt,
            readAt: (into, at) => opened.readAt(into, at),
            truncate: (sizeBytes) => opened.truncate(sizeBytes),
            sizeBytes: () => opened.sizeBytes(),
            sync: () => opened.sync(),
            close: () => opened.close(),
            [Symbol.asyncDispose]: () => opened[Symbol.asyncDispose](),
          };
        },
      };
      const window = hostWindow(full, disk);
      assert.equal(await client.send(FILE, () => inPieces(CONTENT), never, { window }), true);
    });
    same(file);
  }
});

Deno.test("the body ends only once every slot was read", async () => {
  let isOver = false;
  await withGuest({ [WINDOW_FIELD]: NAME }, async ({ length, say }) => {
    assert.equal(await length(), 100);
    const end = length().finally(() => isOver = true);
    for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setTimeout(resolve, 0));
    assert.equal(isOver, false);
    await say("\n");
    assert.equal(await end, undefined);
    await say("{}");
  }, async ({ client, window }) => {
    const content = () => inPieces(CONTENT.subarray(0, 100));
    assert.equal(await client.send(FILE, content, never, { window }), true);
  });
});

Deno.test("a guest that says why it stops is believed, and one that lies fails its own copy only", async () => {
  const error = { code: "guest_failed", message: "Cannot write all of it: no space is left in the guest" };
  const cases: [string, (guest: Guest) => Promise<void>, (failure: unknown) => boolean][] = [
    ["a full disk", async ({ length, say }) => {
      await length();
      await say(`\n${JSON.stringify({ error })}`);
    }, (failure) => hasCode("guest_failed")(failure) && /no space/.test(String(failure))],
    ["more is read than was sent", async ({ say, body }) => {
      await say("\n".repeat(1000));
      while (await body.read().catch(() => null) !== null);
    }, hasCode("corrupt_data")],
    ["it is whole too early", ({ say }) => say("{}"), hasCode("guest_unreachable")],
    ["no JSON", ({ say }) => say("\nno"), () => true],
    ["too much", ({ say }) => say("x".repeat(60_000)), () => true],
    ["nothing", () => Promise.resolve(), hasCode("guest_unreachable")],
  ];
  for (const [name, serve, isRight] of cases) {
    await withGuest({ [WINDOW_FIELD]: NAME }, serve, async ({ client, window }) => {
      await assert.rejects(client.send(FILE, () => inPieces(CONTENT), never, { window }), isRight, name);
      await using free = await window.take(NAME);
      assert.ok(free, name);
    });
  }
});

Deno.test("who interrupts does not wait for a guest that reads nothing", async () => {
  const stop = new AbortController();
  await withGuest({ [WINDOW_FIELD]: NAME }, async ({ body, length }) => {
    for (let slot = 0; slot < SLOTS; slot++) await length();
    stop.abort(new BangerError("cancelled", "Cannot finish: interrupted"));
    await body.read().catch(() => null);
  }, async ({ client, window }) => {
    await assert.rejects(
      client.send(FILE, () => inPieces(CONTENT), stop.signal, { window }),
      hasCode("cancelled"),
    );
    await using free = await window.take(NAME);
    assert.ok(free);
  });
});

Deno.test("a source that fails ends no body", async () => {
  async function* failing(): AsyncGenerator<Uint8Array> {
    yield CONTENT.subarray(0, SLOT_BYTES + 1);
    throw new BangerError("wrong_state", "Cannot read on");
  }
  const end = await withGuest({ [WINDOW_FIELD]: NAME }, async ({ length, say }) => {
    assert.equal(await length(), SLOT_BYTES);
    await say("\n");
    return await length().then(() => "an end", () => "cut off");
  }, async ({ client, window }) => {
    await assert.rejects(client.send(FILE, failing, never, { window }), hasCode("wrong_state"));
  });
  assert.equal(end, "cut off");
});
