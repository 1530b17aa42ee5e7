import { type Frame, FRAME_HEADER_BYTES, FrameDecoder, putFrameHeader } from "../../lib/guest/wire/frames.ts";
import { reasonOf } from "../../lib/base/errors.ts";
import type { Log } from "../../lib/base/host.ts";

/** Dropped as a whole, oldest first: small enough that what is kept is nearly all that may be. */
const SEGMENT_BYTES = 512 * 1024;
const READ_BYTES = 64 * 1024;

interface Segment {
  /** Of its first byte among all bytes of the log. */
  readonly start: number;
  readonly path: string;
  sizeBytes: number;
}

/**
 * What a session prints, as the frames that clients get, in files of a directory. The oldest goes when there
 * is too much. Writing never waits for a reader.
 */
export class OutputLog {
  readonly #directory: string;
  readonly #maxBytes: number;
  readonly #log: Log;
  readonly #segments: Segment[] = [];
  #file: Deno.FsFile | undefined;
  #hasEnded = false;
  /** Could not be written, since the newest segment. */
  #droppedBytes = 0;
  #lostBytes = 0;
  #wake: (() => void)[] = [];

  constructor(directory: string, maxBytes: number, log: Log) {
    this.#directory = directory;
    this.#maxBytes = maxBytes;
    this.#log = log;
  }

  /** What an earlier agent has kept; it has ended. */
  static async ofEarlier(
    directory: string,
    maxBytes: number,
    lostBytes: number,
    log: Log,
  ): Promise<OutputLog> {
    const found = new OutputLog(directory, maxBytes, log);
    for await (const { name, isFile } of Deno.readDir(directory)) {
      const start = /^output\.(\d{1,15})$/.exec(name)?.[1];
      if (!isFile || start === undefined) continue;
      const path = `${directory}/${name}`;
      found.#segments.push({ start: Number(start), path, sizeBytes: (await Deno.stat(path)).size });
    }
    found.#segments.sort((a, b) => a.start - b.start);
    found.#lostBytes = Math.max(lostBytes, found.#segments[0]?.start ?? 0);
    found.#hasEnded = true;
    return found;
  }

  /** Kept, the frames' headers included. */
  get keptBytes(): number {
    return this.#segments.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  }

  get lostBytes(): number {
    return this.#lostBytes;
  }

  /** A disk that is full loses output, never the command. */
  append(type: number, payload: Uint8Array): void {
    const frame = new Uint8Array(FRAME_HEADER_BYTES + payload.length);
    putFrameHeader(frame, 0, type, payload.length);
    frame.set(payload, FRAME_HEADER_BYTES);
    try {
      this.#write(frame);
    } catch (failure) {
      if (this.#droppedBytes === 0) {
        this.#log("warn", "cannot keep a session's output", { reason: reasonOf(failure) });
      }
      // Half a frame would make nonsense of all that follows: a new segment begins.
      this.#closeFile();
      this.#dropEmptySegment();
      this.#droppedBytes += frame.length;
      this.#lostBytes += frame.length;
    }
    this.#notify();
  }

  /** Nothing more comes. Idempotent. */
  end(): void {
    this.#hasEnded = true;
    this.#closeFile();
    this.#notify();
  }

  /**
   * Gives what is kept, then what comes, until the end or until `signal` fires.
   *
   * @param tailBytes of what is kept at most, in whole frames
   * @param isFollowing false: ends with what is there now
   * @param take gets whole frames in any pieces, valid until it resolves
   * @param lost told of bytes that are gone, between frames
   */
  async read(
    { tailBytes, isFollowing, signal }: {
      readonly tailBytes: number;
      readonly isFollowing: boolean;
      readonly signal: AbortSignal;
    },
    take: (bytes: Uint8Array) => Promise<void>,
    lost: (bytes: number) => Promise<void>,
  ): Promise<void> {
    const until = isFollowing ? Infinity : this.#end();
    const wake = () => this.#notify();
    signal.addEventListener("abort", wake);
    try {
      let position = await this.#positionOfTail(tailBytes);
      while (!signal.aborted && position < until) {
        const segment = this.#segments.find(({ start, sizeBytes }) => start + sizeBytes > position);
        if (!segment) {
          if (this.#hasEnded) break;
          await this.#change();
        } else {
          if (segment.start > position) await lost(segment.start - position);
          position = await this.#readSegment(segment, Math.max(position, segment.start), until, take, signal);
        }
      }
    } finally {
      signal.removeEventListener("abort", wake);
    }
  }

  /** A segment that goes while it is read stays readable: it is open. @returns where it ended */
  async #readSegment(
    segment: Segment,
    from: number,
    until: number,
    take: (bytes: Uint8Array) => Promise<void>,
    signal: AbortSignal,
  ): Promise<number> {
    using file = await Deno.open(segment.path);
    await file.seek(from - segment.start, Deno.SeekMode.Start);
    const buffer = new Uint8Array(READ_BYTES);
    let position = from;
    for (;;) {
      // Beyond its size there may be half a frame that found no room.
      const left = Math.min(segment.start + segment.sizeBytes, until) - position;
      if (left > 0) {
        const count = await file.read(buffer.subarray(0, Math.min(buffer.length, left)));
        if (count === null) return segment.start + segment.sizeBytes;
        await take(buffer.subarray(0, count));
        position += count;
      } else {
        if (signal.aborted || this.#hasEnded || position >= until) return position;
        if (this.#segments.at(-1) !== segment || !this.#file) return position;
        await this.#change();
      }
      if (signal.aborted) return position;
    }
  }

  /** Where the last `tailBytes` begin: at a frame. Of all output the beginning, so that what is gone is told. */
  async #positionOfTail(tailBytes: number): Promise<number> {
    if (tailBytes === Infinity) return 0;
    const first = this.#segments[0]?.start ?? this.#end();
    const wanted = Math.max(this.#end() - tailBytes, first);
    const segment = this.#segments.findLast(({ start }) => start <= wanted);
    if (!segment || segment.start === wanted) return wanted;
    let position = segment.start;
    let isFound = false;
    const decoder = new FrameDecoder();
    const bytes = (await Deno.readFile(segment.path)).subarray(0, segment.sizeBytes);
    for (const { payload } of decoder.push(bytes) as Iterable<Frame>) {
      if (position >= wanted) {
        isFound = true;
        break;
      }
      position += FRAME_HEADER_BYTES + payload.length;
    }
    return isFound ? position : segment.start + segment.sizeBytes;
  }

  #end(): number {
    const last = this.#segments.at(-1);
    return last ? last.start + last.sizeBytes : 0;
  }

  #write(frame: Uint8Array): void {
    let segment = this.#segments.at(-1);
    if (!segment || !this.#file || segment.sizeBytes + frame.length > SEGMENT_BYTES) {
      segment = this.#nextSegment();
    }
    for (let at = 0; at < frame.length;) at += this.#file!.writeSync(frame.subarray(at));
    segment.sizeBytes += frame.length;
  }

  #nextSegment(): Segment {
    this.#closeFile();
    const start = this.#end() + this.#droppedBytes;
    const path = `${this.#directory}/output.${start}`;
    this.#file = Deno.openSync(path, { write: true, create: true, truncate: true, mode: 0o600 });
    this.#droppedBytes = 0;
    const segment = { start, path, sizeBytes: 0 };
    this.#segments.push(segment);
    while (this.keptBytes > this.#maxBytes - SEGMENT_BYTES && this.#segments.length > 1) {
      const oldest = this.#segments.shift()!;
      this.#lostBytes += oldest.sizeBytes;
      Deno.removeSync(oldest.path);
    }
    return segment;
  }

  /** So that a full disk does not fill up with empty files. */
  #dropEmptySegment(): void {
    const last = this.#segments.at(-1);
    if (last?.sizeBytes !== 0) return;
    this.#segments.pop();
    this.#droppedBytes = last.start - this.#end();
    Deno.removeSync(last.path);
  }

  #closeFile(): void {
    this.#file?.close();
    this.#file = undefined;
  }

  #change(): Promise<void> {
    return new Promise((resolve) => this.#wake.push(resolve));
  }

  #notify(): void {
    const woken = this.#wake;
    this.#wake = [];
    for (const wake of woken) wake();
  }
}
