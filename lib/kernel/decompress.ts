import { Buffer } from "node:buffer";
import { pipeline, Readable } from "node:stream";
import { createGunzip } from "node:zlib";
import * as xzModule from "xz-decompress";
import { concatBytes } from "../base/bytes.ts";
import { BangerError, reasonOf } from "../base/errors.ts";
import { decodeZstd, zstdContentBytes } from "./zstd.ts";

export type Compression = "none" | "xz" | "gzip" | "zstd" | "lz4" | "bzip2" | "lzma";

const MAGICS: readonly (readonly [Compression, readonly number[]])[] = [
  ["xz", [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]],
  ["gzip", [0x1f, 0x8b]],
  ["zstd", [0x28, 0xb5, 0x2f, 0xfd]],
  ["lz4", [0x02, 0x21, 0x4c, 0x18]],
  ["bzip2", [0x42, 0x5a, 0x68]],
  ["lzma", [0x5d, 0x00, 0x00]],
];

/** What the first bytes say. The `lz4` of Linux is the legacy frame format. */
export function sniffCompression(head: Uint8Array): Compression {
  for (const [name, magic] of MAGICS) {
    if (magic.every((byte, at) => head[at] === byte)) return name;
  }
  return "none";
}

/**
 * Decompresses a stream, whatever of xz, gzip or nothing it turns out to be. Ending the iteration early
 * ends the input too.
 *
 * The xz decoder serves one stream at a time, others wait: never begin one while another that you also have
 * to read is open.
 *
 * @param what names the input in errors
 * @throws {BangerError} `corrupt_data`; `host_unsupported` for formats there is no decoder for
 */
export async function* decompress(
  input: ReadableStream<Uint8Array>,
  what: string,
): AsyncGenerator<Uint8Array> {
  const reader = input.getReader();
  try {
    const { head, stream } = await peek(reader);
    const compression = sniffCompression(head);
    if (compression === "none") yield* chunksOf(stream);
    else if (compression === "xz") yield* guarded(unxz(stream), what);
    else if (compression === "gzip") yield* guarded(gunzip(stream), what);
    else {
      throw new BangerError(
        "host_unsupported",
        `Cannot unpack ${what}: it is compressed with ${compression}`,
        "Use a package that is compressed with xz or gzip, as Debian's are",
      );
    }
  } finally {
    // Decoders stop at the end of what they decode, which need not be the end of the input.
    await reader.cancel();
  }
}

/** As `decompress`, of bytes that are in memory, into memory; zstd too. */
export async function decompressBytes(
  bytes: Uint8Array,
  maxBytes: number,
  what: string,
): Promise<Uint8Array<ArrayBuffer>> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  if (sniffCompression(bytes) === "zstd") {
    const sizeBytes = zstdContentBytes(bytes, what);
    if (sizeBytes > maxBytes) throw tooLarge(maxBytes, what);
    return await decodeZstd(bytes, sizeBytes, what);
  }
  for await (const chunk of decompress(streamOf(bytes), what)) {
    length += chunk.length;
    if (length > maxBytes) throw tooLarge(maxBytes, what);
    chunks.push(chunk);
  }
  return concatBytes(chunks);
}

function tooLarge(maxBytes: number, what: string): BangerError {
  return new BangerError("corrupt_data", `Cannot unpack ${what}: it has more than ${maxBytes} bytes`);
}

export function streamOf(bytes: Uint8Array): ReadableStream<Uint8Array> {
  return new ReadableStream({
    start(controller) {
      if (bytes.length > 0) controller.enqueue(bytes);
      controller.close();
    },
  });
}

async function* chunksOf(stream: ReadableStream<Uint8Array>): AsyncGenerator<Uint8Array> {
  for await (const chunk of stream) yield chunk;
}

/** A CommonJS module: bundled its exports are named, loaded by Deno itself they lie in `default`. */
const { XzReadableStream } = "XzReadableStream" in xzModule
  ? xzModule
  : (xzModule as unknown as { default: typeof xzModule }).default;

async function* unxz(stream: ReadableStream<Uint8Array>): AsyncGenerator<Uint8Array> {
  const reader = new XzReadableStream(stream).getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    // The decoder serves one stream at a time, in turn, so one that is left early must be given up. Its cancel
    // fails where decoding has ended already; it has given up its turn then too.
    await reader.cancel().catch(() => {});
  }
}

async function* gunzip(stream: ReadableStream<Uint8Array>): AsyncGenerator<Uint8Array> {
  const gunzipped = createGunzip({ chunkSize: 256 * 1024 });
  // The failure reaches us through the iteration; this callback only keeps it from being unhandled.
  pipeline(Readable.from(stream), gunzipped, () => {});
  for await (const chunk of gunzipped) yield chunk as Buffer;
}

/** A decoder's own failures become `corrupt_data`; failures of reading the input stay what they are. */
async function* guarded(chunks: AsyncIterable<Uint8Array>, what: string): AsyncGenerator<Uint8Array> {
  try {
    for await (const chunk of chunks) if (chunk.length > 0) yield chunk;
  } catch (thrown) {
    if (thrown instanceof BangerError || (thrown instanceof Error && thrown.name === "AbortError")) {
      throw thrown;
    }
    throw new BangerError(
      "corrupt_data",
      `Cannot unpack ${what}: it is damaged (${reasonOf(thrown)})`,
      "Fetch the file again",
      { cause: thrown },
    );
  }
}

/** The first bytes, and the same stream from its beginning. Cancelling the reader is left to its owner. */
async function peek(
  reader: ReadableStreamDefaultReader<Uint8Array>,
): Promise<{ head: Uint8Array; stream: ReadableStream<Uint8Array> }> {
  const chunks: Uint8Array[] = [];
  let head: Uint8Array = new Uint8Array(0);
  while (head.length < 6) {
    const { done, value } = await reader.read();
    if (done) break;
    chunks.push(value);
    head = concatBytes([head, value.subarray(0, 6)]);
  }
  const stream = new ReadableStream<Uint8Array>({
    async pull(controller) {
      const buffered = chunks.shift();
      if (buffered) return controller.enqueue(buffered);
      const { done, value } = await reader.read();
      if (done) controller.close();
      else controller.enqueue(value);
    },
  }, { highWaterMark: 0 });
  return { head, stream };
}
