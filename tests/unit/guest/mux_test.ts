import { Buffer } from "node:buffer";
import { deepEqual, equal, ok, rejects, throws } from "node:assert/strict";
import { BangerError } from "../../../lib/base/errors.ts";
import type { Connection } from "../../../lib/base/host.ts";
import {
  encodeMuxFrame,
  FLUSH_BYTES,
  MAX_STREAMS,
  MUX_FRAME,
  NONCE_BYTES,
  WINDOW_BYTES,
} from "../../../lib/guest/wire/mux_frames.ts";
import { type AcceptStream, MuxGuest } from "../../../lib/guest/wire/mux_guest.ts";
import { MuxHost } from "../../../lib/guest/wire/mux_host.ts";
import { fastClock } from "./fast_clock.ts";
import {
  connectionPair,
  type PipeOptions,
  randomBytes,
  readToEnd,
  seededRandom,
  writeAll,
} from "./memory_connection.ts";

const host = { clock: fastClock, log: () => {} };
const ECHO_PORT = 7;
const SILENT_PORT = 8;

/** Gives back what it gets; a port that never reads; nothing else. */
const accept: AcceptStream = (port) => {
  if (port === ECHO_PORT) return (stream) => void echo(stream);
  if (port === SILENT_PORT) return () => {};
  return undefined;
};

async function echo(stream: Connection): Promise<void> {
  try {
    const buffer = new Uint8Array(20_000);
    for (let count; (count = await stream.read(buffer)) !== null;) {
      await writeAll(stream, buffer.subarray(0, count));
    }
    await stream.closeWrite();
  } catch {
    // The test has closed it.
  }
  stream.close();
}

/** Both sides in step over one connection in memory. */
async function withMux(
  options: PipeOptions,
  act: (mux: MuxHost, ends: { host: Connection; guest: Connection }) => Promise<void>,
): Promise<void> {
  const [hostEnd, guestEnd] = connectionPair(options);
  const mux = new MuxHost(host, hostEnd);
  const runs = [mux.run(), new MuxGuest(host, guestEnd, accept).run()];
  try {
    await mux.untilInStep();
    await act(mux, { host: hostEnd, guest: guestEnd });
  } finally {
    hostEnd.close();
    guestEnd.close();
    await Promise.all(runs);
  }
}

async function roundTrip(mux: MuxHost, content: Uint8Array): Promise<void> {
  const stream = mux.open(ECHO_PORT);
  const [echoed] = await Promise.all([
    readToEnd(stream),
    writeAll(stream, content).then(() => stream.closeWrite()),
  ]);
  ok(echoed.length === content.length && echoed.every((byte, i) => byte === content[i]), "content differs");
}

Deno.test("many streams at once carry what they should, in pieces of any size", async () => {
  for (let seed = 0; seed < 8; seed++) {
    const random = seededRandom(seed);
    const most = 10 ** (1 + Math.floor(random() * 5));
    const options = {
      capacityBytes: 100 + Math.floor(random() * 100_000),
      pieceBytes: () => 1 + random() * most | 0,
    };
    await withMux(options, async (mux) => {
      const size = Math.min(60_000, 300 * most);
      await Promise.all(
        Array.from({ length: 12 }, () => roundTrip(mux, randomBytes(random, random() * size | 0))),
      );
    });
  }
});

Deno.test("64 MB come through unharmed", async () => {
  await withMux({ capacityBytes: 256 * 1024 }, async (mux) => {
    const block = randomBytes(seededRandom(3), 1_000_003);
    const stream = mux.open(ECHO_PORT);
    const writing = (async () => {
      for (let i = 0; i < 64; i++) await writeAll(stream, block);
      await stream.closeWrite();
    })();
    const buffer = new Uint8Array(65_536);
    let total = 0;
    for (let count; (count = await stream.read(buffer)) !== null; total += count) {
      const start = total % block.length;
      const straight = Math.min(count, block.length - start);
      equal(Buffer.compare(buffer.subarray(0, straight), block.subarray(start, start + straight)), 0);
      equal(Buffer.compare(buffer.subarray(straight, count), block.subarray(0, count - straight)), 0);
    }
    equal(total, 64 * block.length);
    await writing;
  });
});

Deno.test("a reader that is slow blocks its own stream only, and costs a window of memory", async () => {
  await withMux({}, async (mux) => {
    const slow = mux.open(SILENT_PORT);
    let taken = 0;
    const writing = (async () => {
      for (;;) taken += await slow.write(new Uint8Array(10_000));
    })();
    const failure = rejects(writing, BangerError);
    for (let i = 0; i < 5; i++) await roundTrip(mux, randomBytes(seededRandom(i), 100_000));
    equal(taken, WINDOW_BYTES);
    slow.close();
    await failure;
  });
});

Deno.test("a port where nothing listens is refused, and later streams work", async () => {
  await withMux({}, async (mux) => {
    await rejects(mux.open(9).accepted, /takes streams on that port/);
    const stream = mux.open(ECHO_PORT);
    await stream.accepted;
    stream.close();
    await roundTrip(mux, Uint8Array.of(1, 2, 3));
  });
});

Deno.test("a half-close ends one direction only", async () => {
  await withMux({}, async (mux) => {
    const stream = mux.open(ECHO_PORT);
    await writeAll(stream, Uint8Array.of(1));
    await stream.closeWrite();
    await rejects(stream.write(Uint8Array.of(2)), BangerError);
    deepEqual(await readToEnd(stream), Uint8Array.of(1));
    equal(await stream.read(new Uint8Array(1)), null, "it stays at its end");
    stream.close();
    stream.close();
  });
});

Deno.test("closing ends waiting reads, and frames on their way do no harm", async () => {
  await withMux({}, async (mux) => {
    const stream = mux.open(ECHO_PORT);
    const reading = stream.read(new Uint8Array(1));
    await writeAll(stream, randomBytes(seededRandom(1), 50_000));
    stream.close();
    await reading;
    await roundTrip(mux, randomBytes(seededRandom(2), 100_000));
    ok(mux.isInStep);
  });
});

Deno.test("streams are capped, and a closed one makes room", async () => {
  await withMux({}, async (mux) => {
    const streams = Array.from({ length: MAX_STREAMS }, () => mux.open(SILENT_PORT));
    throws(
      () => mux.open(ECHO_PORT),
      (failure) => failure instanceof BangerError && failure.code === "in_use",
    );
    await Promise.all(streams.map((stream) => stream.accepted));
    streams[0]!.close();
    await roundTrip(mux, Uint8Array.of(1));
  });
});

Deno.test("the end of the connection ends every stream with what was received before", async () => {
  let stream: ReturnType<MuxHost["open"]> | undefined;
  await withMux({}, async (mux, ends) => {
    stream = mux.open(ECHO_PORT);
    await writeAll(stream, Uint8Array.of(1, 2));
    await stream.accepted;
    ends.guest.close();
    await rejects(readToEnd(stream), BangerError);
    equal(mux.isInStep, false);
    throws(() => mux.open(ECHO_PORT), BangerError);
  });
  await rejects(stream!.write(Uint8Array.of(1)), BangerError);
});

Deno.test("a host that comes back in the middle of a frame finds a guest that follows", async () => {
  for (let seed = 0; seed < 25; seed++) {
    const random = seededRandom(seed);
    // A device whose host side can be taken away and put back, as QEMU's reconnects do.
    const device = new ReconnectingDevice();
    const run = new MuxGuest(host, device, accept).run();
    for (let connection = 0; connection < 3; connection++) {
      const end = device.connect(() => 1 + Math.floor(random() * 5000));
      const mux = new MuxHost(host, end);
      const running = mux.run();
      await mux.untilInStep();
      await roundTrip(mux, randomBytes(random, 30_000));
      const unfinished = mux.open(ECHO_PORT);
      const writing = writeAll(unfinished, randomBytes(random, 200_000)).catch(() => {});
      for (let turn = Math.floor(random() * 40); turn > 0; turn--) await Promise.resolve();
      device.disconnect();
      end.close();
      await Promise.all([running, writing]);
    }
    device.close();
    await run;
  }
});

Deno.test("an agent that starts anew is noticed, even where the one before died inside a frame", async () => {
  for (const cut of [0, 1, 9, 100]) {
    const device = new ReconnectingDevice();
    const mux = new MuxHost(host, device.connect(() => Infinity));
    const running = mux.run();
    const first = new AbandonedGuest(device);
    await first.untilReset();
    await mux.untilInStep();
    await writeAll(device, encodeMuxFrame(MUX_FRAME.data, 0, new Uint8Array(500)).subarray(0, cut));
    const run = new MuxGuest(host, device, accept).run();
    while (mux.isInStep) await fastClock.sleep(20);
    await mux.untilInStep();
    await roundTrip(mux, randomBytes(seededRandom(cut), 50_000));
    device.disconnect();
    await running;
    device.close();
    await run;
  }
});

Deno.test("whatever a hostile guest sends, the host neither fails nor delivers it", async () => {
  for (let seed = 0; seed < 40; seed++) {
    const random = seededRandom(seed);
    const device = new ReconnectingDevice();
    const mux = new MuxHost(host, device.connect(() => Infinity));
    const running = mux.run();
    const guest = new AbandonedGuest(device);
    await guest.untilReset();
    await mux.untilInStep();
    const stream = mux.open(ECHO_PORT);
    await writeAll(device, hostileFrame(random));
    // Bytes that no frame of this epoch may have: they end it. A proper end of the stream may have come before.
    while (mux.isInStep) await fastClock.sleep(20);
    const outcome = await readToEnd(stream).catch((failure) => failure);
    ok(outcome instanceof BangerError || outcome.length === 0, `seed ${seed}`);
    device.disconnect();
    await running;
    device.close();
  }
});

Deno.test("a guest that is out of step again and again fills no log", async () => {
  const [hostEnd, guestEnd] = connectionPair({});
  const lines: string[] = [];
  const mux = new MuxHost({ clock: fastClock, log: (_level, message) => void lines.push(message) }, hostEnd);
  const running = mux.run();
  const request = encodeMuxFrame(MUX_FRAME.resetAck, 0, new Uint8Array(NONCE_BYTES));
  for (let time = 0; time < 500; time++) await writeAll(guestEnd, request);
  guestEnd.close();
  await running;
  equal(lines.filter((line) => line === "guest stream out of step").length, 1);
});

function hostileFrame(random: () => number): Uint8Array {
  const kinds = [
    () => Uint8Array.of(0xff, ...randomBytes(random, 20)),
    () => encodeMuxFrame(MUX_FRAME.data, 99, Uint8Array.of(1)),
    () => encodeMuxFrame(MUX_FRAME.data, 1, new Uint8Array(0)),
    () => encodeMuxFrame(MUX_FRAME.window, 1, Uint8Array.of(0xff, 0xff, 0xff, 0xff)),
    () => encodeMuxFrame(MUX_FRAME.window, 1, Uint8Array.of(1)),
    () => encodeMuxFrame(MUX_FRAME.open, 2, Uint8Array.of(0, 7)),
    () => encodeMuxFrame(MUX_FRAME.reset, 0, new Uint8Array(NONCE_BYTES)),
    () => encodeMuxFrame(MUX_FRAME.resetAck, 0, randomBytes(random, NONCE_BYTES)),
    () => encodeMuxFrame(MUX_FRAME.data, 1, Uint8Array.of(1)).fill(0, 10),
    () => Uint8Array.of(MUX_FRAME.data, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff),
    () => {
      const frames = new Uint8Array(9 * (32_768 + 13));
      for (let i = 0; i < 9; i++) {
        frames.set(encodeMuxFrame(MUX_FRAME.data, 1, new Uint8Array(32_768)), i * 32_781);
      }
      return frames;
    },
    () => {
      const twice = encodeMuxFrame(MUX_FRAME.end, 1, new Uint8Array(0));
      return Uint8Array.of(
        ...twice,
        ...encodeMuxFrame(MUX_FRAME.data, 1, Uint8Array.of(1)),
        0xff,
        ...new Uint8Array(8),
      );
    },
  ];
  return kinds[Math.floor(random() * kinds.length)]!();
}

/** The guest's end of a port whose host side comes and goes; bytes on their way are lost then, as in QEMU. */
class ReconnectingDevice implements Connection {
  #current: Connection | undefined;
  #closed = false;
  #changed = Promise.withResolvers<void>();

  connect(pieceBytes: () => number): Connection {
    const [hostEnd, guestEnd] = connectionPair({ pieceBytes });
    this.#set(guestEnd);
    return hostEnd;
  }

  disconnect(): void {
    this.#current?.close();
    this.#set(undefined);
  }

  async read(into: Uint8Array): Promise<number | null> {
    while (!this.#closed) {
      const changed = this.#changed.promise;
      const count = await this.#current?.read(into) ?? null;
      if (count !== null) return count;
      await changed;
    }
    return null;
  }

  async write(bytes: Uint8Array): Promise<number> {
    while (!this.#closed) {
      const changed = this.#changed.promise;
      try {
        if (this.#current) return await this.#current.write(bytes);
      } catch {
        // The host has gone: the bytes are lost.
        return bytes.length;
      }
      await changed;
    }
    throw new BangerError("connection_failed", "Cannot write to the device: it is closed");
  }

  closeWrite(): Promise<void> {
    return Promise.resolve();
  }

  close(): void {
    this.#closed = true;
    this.#set(undefined);
  }

  #set(connection: Connection | undefined): void {
    this.#current = connection;
    const before = this.#changed;
    this.#changed = Promise.withResolvers<void>();
    before.resolve();
  }
}

/** An agent that answers the first reset and then never reads again. */
class AbandonedGuest {
  readonly #device: Connection;

  constructor(device: Connection) {
    this.#device = device;
  }

  async untilReset(): Promise<void> {
    const seen = new Uint8Array(FLUSH_BYTES + 29);
    for (let filled = 0; filled < seen.length;) {
      filled += await this.#device.read(seen.subarray(filled)) ?? 0;
    }
    const nonce = seen.subarray(FLUSH_BYTES + 9, FLUSH_BYTES + 25);
    await writeAll(this.#device, encodeMuxFrame(MUX_FRAME.resetAck, 0, nonce));
  }
}
