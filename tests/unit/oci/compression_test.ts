import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { randomBytes } from "node:crypto";
import { gzipSync } from "node:zlib";
import { concatBytes } from "../../../lib/base/bytes.ts";
import { BangerError } from "../../../lib/base/errors.ts";
import { type Decode, decodeHere } from "../../../lib/oci/compression/codecs.ts";
import {
  decompress,
  type DecompressLimits,
  sniffCompression,
} from "../../../lib/oci/compression/decompress.ts";
import { gunzipStream } from "../../../lib/oci/compression/gzip_stream.ts";
import { decodeInThread, SOURCE_WORKER_URL } from "../../../lib/oci/compression/threaded.ts";
import { BUFFER_BYTES } from "../../../lib/oci/compression/worker_messages.ts";
import { bytes, inPieces } from "./archive.ts";
import { rejectsWith } from "./replayed.ts";

const CONTENT = bytes("some text that repeats, some text that repeats. ".repeat(500));

async function inflate(
  input: Uint8Array,
  piece = 1000,
  limits: Partial<DecompressLimits> = {},
  decode: Decode = decodeHere,
) {
  const parts: Uint8Array[] = [];
  for await (const part of decompress(inPieces(input, piece), limits, decode)) parts.push(part.slice());
  return concatBytes(parts);
}

const inWorker = decodeInThread(SOURCE_WORKER_URL, () => Promise.reject(new Error("no window is large")));
/** What stands in where zlib's binding is not as it is known to be. */
const asStream: Decode = (_codec, input) => gunzipStream(input);
const gzip = (content: Uint8Array) => new Uint8Array(gzipSync(content));

/** A zstd frame of stored and repeated blocks: RFC 8878, section 3.1.1. */
function zstd(
  blocks: readonly (readonly [type: "raw" | "repeat", content: Uint8Array, times?: number])[],
  window = 0x50,
) {
  const parts: Uint8Array[] = [Uint8Array.of(0x28, 0xb5, 0x2f, 0xfd, 0x00, window)];
  for (const [index, [type, content, times]] of blocks.entries()) {
    const isLast = index === blocks.length - 1;
    const size = type === "raw" ? content.length : times!;
    const header = (isLast ? 1 : 0) | (type === "raw" ? 0 : 2) | (size << 3);
    parts.push(Uint8Array.of(header & 0xff, (header >> 8) & 0xff, header >> 16), content);
  }
  return concatBytes(parts);
}

const skippable = (length: number) =>
  concatBytes([Uint8Array.of(0x5a, 0x2a, 0x4d, 0x18, length, 0, 0, 0), new Uint8Array(length).fill(0xff)]);

for (const piece of [1, 7, 4096, 1_000_000]) {
  Deno.test(`what is not compressed passes, what is is inflated, in pieces of ${piece}`, async () => {
    const small = CONTENT.subarray(0, 2000);
    assert.deepEqual(await inflate(small, piece), small);
    assert.deepEqual(await inflate(gzip(CONTENT), piece), CONTENT);
    assert.deepEqual(await inflate(zstd([["raw", small]]), piece), small);
    assert.deepEqual(await inflate(new Uint8Array(0), piece), new Uint8Array(0));
    assert.deepEqual(await inflate(bytes("ab"), piece), bytes("ab"));
  });

  Deno.test(`Z5 zstd with several frames and skippable ones, in pieces of ${piece}`, async () => {
    const frames = concatBytes([
      skippable(3),
      zstd([["raw", bytes("one ")], ["repeat", bytes("x"), 5]]),
      skippable(200),
      zstd([["raw", bytes(" two")]]),
      skippable(0),
    ]);
    assert.deepEqual(await inflate(frames, piece), bytes("one xxxxx two"));
  });
}

/** Bytes that do not compress, the same each time. */
function noise(length: number): Uint8Array {
  let state = 1;
  return new Uint8Array(length).map(() => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) >>> 24);
}

const WAYS: readonly (readonly [where: string, piece: number, decode: Decode])[] = [
  ["here", 1, decodeHere],
  ["here", 7, decodeHere],
  ["here", 4096, decodeHere],
  ["here", 1_000_000, decodeHere],
  ["here as a stream", 7, asStream],
  ["here as a stream", 4096, asStream],
  ["in a worker", 300, inWorker],
];

for (const [where, piece, decode] of WAYS) {
  Deno.test(`Z2 all members of gzip are inflated, in pieces of ${piece}, ${where}`, async () => {
    const members = concatBytes([
      gzip(bytes("one")),
      gzip(new Uint8Array(0)),
      gzip(bytes("two")),
      gzip(CONTENT),
    ]);
    assert.deepEqual(await inflate(members, piece, {}, decode), concatBytes([bytes("onetwo"), CONTENT]));
  });

  Deno.test(`Z3 zeros after gzip are accepted and junk is refused, in pieces of ${piece}, ${where}`, async () => {
    const padded = concatBytes([gzip(CONTENT), new Uint8Array(700)]);
    assert.deepEqual(await inflate(padded, piece, {}, decode), CONTENT);
    for (
      const junk of [bytes("junk"), Uint8Array.of(0x1f), Uint8Array.of(0x1f, 0x8b, 9, 9), Uint8Array.of(0xff)]
    ) {
      await rejectsWith(
        inflate(concatBytes([gzip(CONTENT), junk]), piece, {}, decode),
        "corrupt_data",
        /decompress gzip data/,
      );
    }
  });

  Deno.test(`Z1 truncated gzip and a wrong checksum are refused, in pieces of ${piece}, ${where}`, async () => {
    const whole = gzip(CONTENT);
    for (const length of [3, 10, 11, whole.length - 9, whole.length - 8, whole.length - 1]) {
      await rejectsWith(
        inflate(whole.subarray(0, length), piece, {}, decode),
        "corrupt_data",
        /decompress gzip data/,
      );
    }
    for (const at of [whole.length - 8, whole.length - 1]) {
      const wrong = whole.slice();
      wrong[at]! ^= 1;
      await rejectsWith(inflate(wrong, piece, {}, decode), "corrupt_data", /decompress gzip data/);
    }
  });
}

Deno.test("a worker inflates what is larger than its buffers, and stops when nobody reads on", async () => {
  const large = noise(7_000_000);
  const zipped = gzip(large);
  assert(zipped.length > 5_000_000);
  const output = await inflate(zipped, 3_000_000, {}, inWorker);
  assert(Buffer.from(output.buffer).equals(large));
  for await (const _ of decompress(inPieces(zipped, 100_000), {}, inWorker)) break;
});

Deno.test("a worker decompresses zstd, and refuses it in the decoder's own words", async () => {
  const block = ["repeat", bytes("x"), 128 * 1024] as const;
  const frames = concatBytes([zstd(Array.from({ length: 20 }, () => block)), zstd([["raw", bytes("end")]])]);
  const output = await inflate(frames, 5000, {}, inWorker);
  assert.equal(output.length, 20 * 128 * 1024 + 3);
  assert.deepEqual(output.subarray(-4), bytes("xend"));
  await assert.rejects(inflate(frames.subarray(0, -1), 5000, {}, inWorker), (failure: BangerError) => {
    assert.match(failure.message, /ends inside a frame/);
    return failure.code === "corrupt_data" && failure.hint === "Fetch or make the file again";
  });
});

Deno.test("Z4 output beyond the limit is refused", async () => {
  const bomb = gzip(new Uint8Array(3_000_000));
  assert.equal((await inflate(bomb, 1000, { maxOutputBytes: 3_000_000 })).length, 3_000_000);
  await rejectsWith(inflate(bomb, 1000, { maxOutputBytes: 2_999_999 }), "no_space", /more than/);
  await rejectsWith(inflate(CONTENT, 1000, { maxOutputBytes: 1000 }), "no_space", /more than/);
});

Deno.test("Z4 a zstd bomb ends at the ratio, having taken no memory for it", async () => {
  // 128 KiB a block of four bytes: 32,768 to one.
  const block = ["repeat", bytes("x"), 128 * 1024] as const;
  const bomb = zstd(Array.from({ length: 20_000 }, () => block));
  let outputBytes = 0;
  await assert.rejects(
    async () => {
      for await (const chunk of decompress(inPieces(bomb, 4096))) outputBytes += chunk.length;
    },
    (failure: BangerError) => failure.code === "no_space" && /500 times/.test(failure.message),
  );
  assert(outputBytes < 1.1 * 2 ** 30, `${outputBytes} bytes came out`);
});

for (
  const [why, input, text] of [
    ["a huge window", zstd([["raw", bytes("x")]], 0xff), /window is larger than 128 MiB/],
    ["a window just too large", zstd([["raw", bytes("x")]], 0x89), /window is larger than 128 MiB/],
    ["a reserved bit", patched(zstd([["raw", bytes("x")]]), 4, 0x08), /reserved bit/],
    ["a dictionary", patched(zstd([["raw", bytes("x")]]), 4, 0x01), /dictionary/],
    ["a reserved block type", patched(zstd([["raw", bytes("x")]]), 6, 0x0f), /reserved type/],
    ["a block too large", patched(zstd([["raw", bytes("x")]]), 8, 0x7f), /larger than 128 KiB/],
    ["a cut block", zstd([["raw", bytes("xyz")]]).subarray(0, -1), /ends inside a frame/],
    ["a cut header", zstd([["raw", bytes("x")]]).subarray(0, 5), /ends inside a frame/],
    ["a cut skippable frame", skippable(9).subarray(0, -1), /ends inside a skippable frame/],
    [
      "junk behind a frame",
      concatBytes([zstd([["raw", bytes("x")]]), bytes("junk")]),
      /something else follows/,
    ],
    [
      "a damaged block",
      patched(zstd([["raw", bytes("x".repeat(40))]]), 6, 40 << 3 & 0xff | 0x05),
      /a code is unknown/,
    ],
  ] as const
) {
  Deno.test(`Z5 zstd with ${why} is refused`, async () => {
    await rejectsWith(inflate(input), "corrupt_data", text);
  });
}

function patched(whole: Uint8Array, at: number, value: number): Uint8Array {
  const copy = whole.slice();
  copy[at] = value;
  return copy;
}

Deno.test("Z6 the bytes say how something is compressed", () => {
  assert.equal(sniffCompression(gzip(CONTENT)), "gzip");
  assert.equal(sniffCompression(zstd([["raw", CONTENT.subarray(0, 9)]])), "zstd");
  assert.equal(sniffCompression(skippable(1)), "zstd");
  assert.equal(sniffCompression(bytes("./file")), "none");
  for (const head of [[0xfd, 0x37, 0x7a, 0x58, 0x5a, 0], [0x42, 0x5a, 0x68, 0x39]]) {
    assert.throws(() => sniffCompression(Uint8Array.from(head)), /Cannot read an archive compressed with/);
  }
});

for (const [where, decode] of [["here", decodeHere], ["in a worker", inWorker]] as const) {
  Deno.test(`a failure of the input is passed on as it is, and leaving early closes the input, ${where}`, async () => {
    let isClosed = false;
    async function* input(fails: boolean): AsyncGenerator<Uint8Array> {
      try {
        yield gzip(CONTENT).subarray(0, 500);
        if (fails) throw new Error("the disk broke");
        yield gzip(CONTENT).subarray(500);
      } finally {
        isClosed = await Promise.resolve(true);
      }
    }
    const readAll = async () => {
      for await (const _ of decompress(input(true), {}, decode));
    };
    await assert.rejects(readAll(), /^Error: the disk broke$/);
    assert(isClosed);
    isClosed = false;
    for await (const _ of decompress(input(false), {}, decode)) break;
    assert(isClosed);
  });
}

Deno.test("an input that fails while nobody asks for output fails whoever asks next", async () => {
  const isRead = Promise.withResolvers<void>();
  const hasFailed = Promise.withResolvers<void>();
  const whole = gzip(new Uint8Array(randomBytes(4 * BUFFER_BYTES)));
  const input = async function* () {
    yield whole;
    await isRead.promise;
    hasFailed.resolve();
    throw new Error("the disk is gone");
  };
  const output = inWorker("gzip", input())[Symbol.asyncIterator]();
  assert.equal((await output.next()).done, false);
  isRead.resolve();
  await hasFailed.promise;
  // An unhandled rejection would end this test file here.
  await new Promise((resolve) => setTimeout(resolve, 10));
  const rest = async () => {
    while (!(await output.next()).done);
  };
  await assert.rejects(rest(), /the disk is gone/);
});
