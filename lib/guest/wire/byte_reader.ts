import { BangerError } from "../../base/errors.ts";
import type { Connection } from "../../base/host.ts";

const BUFFER_BYTES = 64 * 1024;

/** Reads lines and bytes of one connection through one buffer. One reader at a time. */
export class ByteReader {
  readonly #connection: Pick<Connection, "read">;
  readonly #buffer = new Uint8Array(BUFFER_BYTES);
  #start = 0;
  #end = 0;

  constructor(connection: Pick<Connection, "read">) {
    this.#connection = connection;
  }

  /** Whatever is there, at least a byte. @returns a view that the next read overwrites; null at the end */
  async readSome(maxBytes: number): Promise<Uint8Array | null> {
    if (this.#start === this.#end && !(await this.#fill())) return null;
    const end = Math.min(this.#end, this.#start + maxBytes);
    const view = this.#buffer.subarray(this.#start, end);
    this.#start = end;
    return view;
  }

  /** As `readSome`, into the caller's own. @returns bytes read, at least 1; null at the end */
  async readInto(into: Uint8Array): Promise<number | null> {
    if (this.#start === this.#end) return await this.#connection.read(into);
    const part = this.#buffer.subarray(this.#start, Math.min(this.#end, this.#start + into.length));
    into.set(part);
    this.#start += part.length;
    return part.length;
  }

  /**
   * @param maxBytes of the line, at most half of the buffer
   * @returns the line without its CRLF or LF; null where the connection ends in front of it
   * @throws {BangerError} `corrupt_data` if it is longer; `connection_failed` if it is cut off
   */
  async readLine(maxBytes: number): Promise<string | null> {
    for (let scanned = 0;;) {
      const newline = this.#buffer.subarray(0, this.#end).indexOf(0x0a, this.#start + scanned);
      if (newline >= 0 && newline - this.#start <= maxBytes) {
        const line = this.#text(this.#start, newline);
        this.#start = newline + 1;
        return line;
      }
      scanned = this.#end - this.#start;
      if (newline >= 0 || scanned > maxBytes) {
        throw new BangerError("corrupt_data", `Cannot read a line: it is longer than ${maxBytes} bytes`);
      }
      if (!(await this.#fill())) {
        if (scanned === 0) return null;
        throw new BangerError("connection_failed", "Cannot read a line: the connection ended inside it");
      }
    }
  }

  /** @returns whether more is there now */
  async #fill(): Promise<boolean> {
    if (this.#start > 0) {
      this.#buffer.copyWithin(0, this.#start, this.#end);
      this.#end -= this.#start;
      this.#start = 0;
    }
    const count = await this.#connection.read(this.#buffer.subarray(this.#end));
    if (count === null) return false;
    this.#end += count;
    return true;
  }

  /** ISO 8859-1, as HTTP's heads are. */
  #text(start: number, end: number): string {
    const last = end > start && this.#buffer[end - 1] === 0x0d ? end - 1 : end;
    return String.fromCharCode(...this.#buffer.subarray(start, last));
  }
}
