import { BangerError } from "../base/errors.ts";

const READ_BYTES = 64 * 1024;

/** Splits a byte stream into lines of bounded length, and takes counted bytes in between. */
export class LineReader {
  readonly #read: (into: Uint8Array) => Promise<number | null>;
  readonly #what: string;
  readonly #maxLineBytes: number;
  readonly #buffer = new Uint8Array(READ_BYTES);
  readonly #pieces: Uint8Array[] = [];
  #pendingBytes = 0;
  /** Unread part of `#buffer`. */
  #start = 0;
  #end = 0;

  /** @param what names the stream in errors, as in "QEMU's QMP" */
  constructor(read: (into: Uint8Array) => Promise<number | null>, what: string, maxLineBytes: number) {
    this.#read = read;
    this.#what = what;
    this.#maxLineBytes = maxLineBytes;
  }

  /** @returns the next line without its end; undefined at the end of the stream (a cut-off line is dropped) */
  async next(): Promise<string | undefined> {
    for (;;) {
      const newline = this.#buffer.subarray(0, this.#end).indexOf(10, this.#start);
      const pieceEnd = newline === -1 ? this.#end : newline;
      this.#keep(this.#buffer.slice(this.#start, pieceEnd));
      this.#start = newline === -1 ? this.#end : newline + 1;
      if (newline !== -1) return this.#takeLine();
      const count = await this.#read(this.#buffer);
      if (count === null) return undefined;
      this.#start = 0;
      this.#end = count;
    }
  }

  /** @returns that many bytes, or those up to the end of the stream. The caller bounds `count`. */
  async bytes(count: number): Promise<Uint8Array<ArrayBuffer>> {
    const taken = new Uint8Array(count);
    let filled = 0;
    while (filled < count) {
      if (this.#start === this.#end) {
        const more = await this.#read(this.#buffer);
        if (more === null) break;
        this.#start = 0;
        this.#end = more;
      }
      const part = this.#buffer.subarray(this.#start, Math.min(this.#end, this.#start + count - filled));
      taken.set(part, filled);
      filled += part.length;
      this.#start += part.length;
    }
    return taken.subarray(0, filled);
  }

  #keep(piece: Uint8Array): void {
    if (piece.length === 0) return;
    this.#pendingBytes += piece.length;
    if (this.#pendingBytes > this.#maxLineBytes) {
      throw new BangerError(
        "corrupt_data",
        `Cannot understand ${this.#what}: a line is over ${this.#maxLineBytes} bytes`,
      );
    }
    this.#pieces.push(piece);
  }

  #takeLine(): string {
    const decoder = new TextDecoder();
    const text = this.#pieces.map((piece) => decoder.decode(piece, { stream: true })).join("");
    this.#pieces.length = 0;
    this.#pendingBytes = 0;
    return (text + decoder.decode()).replace(/\r$/, "");
  }
}
