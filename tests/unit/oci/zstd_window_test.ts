/** Windows of zstd's that are larger than what is held in memory: the rest lies in a scratch. */
import assert from "node:assert/strict";
import { concatBytes } from "../../../lib/base/bytes.ts";
import { KIB, MIB } from "../../../lib/base/units.ts";
import type { Piece, Scratch } from "../../../lib/oci/compression/scratch.ts";
import { decodeHereWith } from "../../../lib/oci/compression/codecs.ts";
import { decodeInThread, SOURCE_WORKER_URL } from "../../../lib/oci/compression/threaded.ts";
import { bytes, inPieces } from "./archive.ts";
import { rejectsWith } from "./replayed.ts";

const MAGIC = Uint8Array.of(0x28, 0xb5, 0x2f, 0xfd);
/** 2 to the power of 10 and its upper five bits. */
const WINDOW_BYTES = 32 * MIB;
const WINDOW_FIELD = 15 << 3;
const BLOCK_BYTES = 128 * KIB;
const MATCH_BYTES = 34;

function block(type: 0 | 1 | 2, size: number, content: Uint8Array, isLast = false): Uint8Array {
  const header = (isLast ? 1 : 0) | (type << 1) | (size << 3);
  return concatBytes([Uint8Array.of(header & 0xff, (header >> 8) & 0xff, header >> 16), content]);
}

/** So many bytes of one value, in as few blocks as they take. */
function repeated(value: number, length: number): Uint8Array {
  const blocks: Uint8Array[] = [];
  for (let left = length; left > 0; left -= BLOCK_BYTES) {
    blocks.push(block(1, Math.min(left, BLOCK_BYTES), Uint8Array.of(value)));
  }
  return concatBytes(blocks);
}

/** One match of 34 bytes and no literals: RFC 8878, section 3.1.1.3, each table with a single symbol. */
function match(distance: number, isLast = false): Uint8Array {
  const value = distance + 3;
  const code = 31 - Math.clz32(value);
  const bits = (1 << code) | (value - (1 << code));
  const stream: number[] = [];
  // The highest bit of the last byte marks the end; the others are the offset's.
  for (let left = bits >>> 0; left > 0; left = Math.floor(left / 256)) stream.push(left & 0xff);
  const content = Uint8Array.of(0x00, 1, 0x54, 0, code, 31, ...stream);
  return block(2, content.length, content, isLast);
}

const frame = (...blocks: Uint8Array[]) => concatBytes([MAGIC, Uint8Array.of(0, WINDOW_FIELD), ...blocks]);

/** In memory; counts what is read, and must be closed. */
class MemoryScratch implements Scratch {
  readonly #bytes = new Uint8Array(WINDOW_BYTES);
  readBytes = 0;
  isOpen = true;

  async write(part: Uint8Array, at: number): Promise<void> {
    await Promise.resolve();
    this.#bytes.set(part, at);
  }

  async read(pieces: readonly Piece[], into: Uint8Array): Promise<void> {
    await Promise.resolve();
    into.set(concatBytes(pieces.map(({ at, length }) => this.#bytes.subarray(at, at + length))));
    this.readBytes += into.length;
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.isOpen = false;
    return Promise.resolve();
  }
}

const WAYS = {
  "in this thread": decodeHereWith,
  "in a worker": (open: () => Promise<Scratch>) => decodeInThread(SOURCE_WORKER_URL, open),
} as const;

/** What is no run of zeros in the decoded bytes, by where it lies. */
async function islands(chunks: AsyncIterable<Uint8Array>): Promise<[at: number, text: string][]> {
  const found: [number, string][] = [];
  let at = 0;
  for await (const chunk of chunks) {
    for (let i = 0; i < chunk.length; i++) {
      if (chunk[i] === 0) continue;
      const last = found.at(-1);
      if (last !== undefined && last[0] + last[1].length === at + i) {
        last[1] += String.fromCharCode(chunk[i]!);
      } else found.push([at + i, String.fromCharCode(chunk[i]!)]);
    }
    at += chunk.length;
  }
  found.push([at, "end"]);
  return found;
}

const TEXT = "It lies where nobody looks, 30 MiB!".slice(0, MATCH_BYTES);

for (const [where, decodeWith] of Object.entries(WAYS)) {
  Deno.test(`a match far back in a large window comes from the scratch, ${where}`, async () => {
    const scratch = new MemoryScratch();
    const gap = 31 * MIB;
    const place = TEXT.length + gap;
    // The second match lies across the place where the scratch begins again, at the end of the window.
    const more = WINDOW_BYTES - place - MATCH_BYTES - 10;
    const input = frame(
      block(0, TEXT.length, bytes(TEXT)),
      repeated(0, gap),
      match(place),
      repeated(0, more),
      block(0, TEXT.length, bytes(TEXT)),
      repeated(0, gap),
      match(place),
      repeated(0, gap),
      match(place, true),
    );
    const output = decodeWith(() => Promise.resolve(scratch))("zstd", inPieces(input, 5000));
    const third = place + MATCH_BYTES + more;
    assert.deepEqual(await islands(output), [
      [0, TEXT],
      [place, TEXT],
      [third, TEXT],
      [third + place, TEXT],
      [third + 2 * place, TEXT],
      [third + 2 * place + MATCH_BYTES, "end"],
    ]);
    assert.equal(scratch.readBytes, 3 * MATCH_BYTES);
    assert(!scratch.isOpen);
  });

  Deno.test(`a match beyond a large window is refused, and a scratch that fails is told, ${where}`, async () => {
    const scratch = new MemoryScratch();
    const input = frame(block(0, 1, bytes("x")), repeated(0, 40 * MIB), match(WINDOW_BYTES + 1, true));
    const decode = decodeWith(() => Promise.resolve(scratch));
    await rejectsWith(islands(decode("zstd", inPieces(input, 5000))), "corrupt_data", /out of the window/);
    assert(!scratch.isOpen);
    const failing = decodeWith(() => Promise.reject(new Error("no room")));
    await assert.rejects(islands(failing("zstd", inPieces(input, 5000))), /no room/);
  });
}
