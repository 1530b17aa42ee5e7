import { BangerError, reasonOf } from "../../base/errors.ts";
import { formatBytes, GIB } from "../../base/units.ts";
import { type Codec, type Decode, decodeHere } from "./codecs.ts";

export type Compression = "none" | Codec;

/** What makes small input fill a disk. */
export interface DecompressLimits {
  readonly maxOutputBytes: number;
  /** Output to input, once the output is beyond 1 GiB. */
  readonly maxRatio: number;
}

/**
 * deflate itself ends at 1032; text and machine code stay below 20, so that what is above 500 over a gigabyte
 * is zeros and was meant to be.
 */
const DEFAULT_DECOMPRESS_LIMITS: DecompressLimits = { maxOutputBytes: 2 ** 40, maxRatio: 500 };
const RATIO_COUNTS_FROM_BYTES = GIB;

/** Long enough for every magic below. */
const SNIFF_BYTES = 6;

/**
 * What the first bytes say. Media types lie about it, and for files there are none.
 *
 * @throws {BangerError} `invalid_argument` for formats that are recognised but not read
 * Exported for tests.
 */
export function sniffCompression(head: Uint8Array): Compression {
  const starts = (...magic: number[]) => magic.every((byte, i) => head[i] === byte);
  if (starts(0x1f, 0x8b)) return "gzip";
  if (starts(0x28, 0xb5, 0x2f, 0xfd)) return "zstd";
  if (
    head.length >= 4 && (head[0]! & 0xf0) === 0x50 && head[1] === 0x2a && head[2] === 0x4d && head[3] === 0x18
  ) {
    return "zstd";
  }
  if (starts(0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00)) throw notRead("xz");
  if (starts(0x42, 0x5a, 0x68)) throw notRead("bzip2");
  return "none";
}

function notRead(format: string): BangerError {
  return new BangerError(
    "invalid_argument",
    `Cannot read an archive compressed with ${format}`,
    "Decompress it first, or compress it with gzip or zstd",
  );
}

/**
 * Decompresses gzip and zstd, passes on what is neither. Chunks are valid until the next is asked for.
 *
 * @throws {BangerError} `corrupt_data` for a damaged or truncated stream or junk behind it; `no_space` beyond
 * the limits
 */
export async function* decompress(
  input: AsyncIterable<Uint8Array>,
  limits: Partial<DecompressLimits> = {},
  decode: Decode = decodeHere,
): AsyncGenerator<Uint8Array> {
  const { maxOutputBytes, maxRatio } = { ...DEFAULT_DECOMPRESS_LIMITS, ...limits };
  const counted = new CountedInput(input);
  try {
    const compression = sniffCompression(await counted.peek(SNIFF_BYTES));
    let outputBytes = 0;
    for await (const chunk of decoded(compression, counted, decode)) {
      outputBytes += chunk.length;
      if (outputBytes > maxOutputBytes) {
        throw bomb(`there is more than ${formatBytes(maxOutputBytes)} of it`);
      }
      if (outputBytes > RATIO_COUNTS_FROM_BYTES && outputBytes > maxRatio * counted.bytesRead) {
        throw bomb(`it grows to more than ${maxRatio} times its size`);
      }
      yield chunk;
    }
  } finally {
    await counted.close();
  }
}

function decoded(
  compression: Compression,
  input: CountedInput,
  decode: Decode,
): AsyncIterable<Uint8Array> {
  return compression === "none" ? input : explained(decode(compression, input), input);
}

/** zlib's errors say neither what was read nor what to do; banger's own do. */
async function* explained(
  output: AsyncIterable<Uint8Array>,
  input: CountedInput,
): AsyncGenerator<Uint8Array> {
  try {
    yield* output;
  } catch (failure) {
    if (failure instanceof BangerError || failure === input.failure) throw failure;
    throw new BangerError(
      "corrupt_data",
      `Cannot decompress gzip data: ${reasonOf(failure)}`,
      "Fetch or make the file again",
      { cause: failure },
    );
  }
}

function bomb(why: string): BangerError {
  return new BangerError(
    "no_space",
    `Cannot decompress the data: ${why}`,
    "Make sure that you trust its source",
  );
}

/** Counts what is read, and can look ahead once. */
class CountedInput implements AsyncIterable<Uint8Array> {
  bytesRead = 0;
  /** What the input itself threw: passed on as it is. */
  failure: unknown;
  readonly #input: AsyncIterator<Uint8Array>;
  readonly #ahead: Uint8Array[] = [];

  constructor(input: AsyncIterable<Uint8Array>) {
    this.#input = input[Symbol.asyncIterator]();
  }

  /** @returns the first bytes, fewer only where there are no more; they are read again later */
  async peek(length: number): Promise<Uint8Array> {
    const head = new Uint8Array(length);
    let filled = 0;
    while (filled < length) {
      const { value, done } = await this.#input.next();
      if (done) break;
      // The input may reuse its chunk before it is asked for again.
      const kept = value.slice();
      this.#ahead.push(kept);
      const part = kept.subarray(0, length - filled);
      head.set(part, filled);
      filled += part.length;
    }
    return head.subarray(0, filled);
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array> {
    try {
      for (let chunk = this.#ahead.shift(); chunk !== undefined; chunk = this.#ahead.shift()) {
        this.bytesRead += chunk.length;
        yield chunk;
      }
      for (let next = await this.#input.next(); !next.done; next = await this.#input.next()) {
        this.bytesRead += next.value.length;
        yield next.value;
      }
    } catch (failure) {
      this.failure = failure;
      throw failure;
    } finally {
      await this.close();
    }
  }

  /** Tells the input that nobody wants more. Idempotent, as generators are. */
  async close(): Promise<void> {
    await this.#input.return?.();
  }
}
