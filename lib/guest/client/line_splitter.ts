import { concatBytes } from "../../base/bytes.ts";
import { BangerError } from "../../base/errors.ts";

/** Cuts a guest's bytes into lines, however they come; a line that does not end is refused, not kept. */
export class LineSplitter {
  readonly #maxBytes: number;
  #rest: Uint8Array = new Uint8Array(0);

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /**
   * @returns the lines that are whole now, without their newline; their bytes are their own
   * @throws {BangerError} `corrupt_data`
   */
  push(bytes: Uint8Array): Uint8Array[] {
    const lines: Uint8Array[] = [];
    let start = 0;
    for (let end; (end = bytes.indexOf(0x0a, start)) >= 0; start = end + 1) {
      lines.push(concatBytes([this.#rest, bytes.subarray(start, end)]));
      this.#rest = new Uint8Array(0);
    }
    const restBytes = this.#rest.length + bytes.length - start;
    if (restBytes > this.#maxBytes || lines.some((line) => line.length > this.#maxBytes)) {
      throw new BangerError(
        "corrupt_data",
        `Cannot read a line of the guest: it is over ${this.#maxBytes} bytes`,
      );
    }
    if (start < bytes.length) this.#rest = concatBytes([this.#rest, bytes.subarray(start)]);
    return lines;
  }
}
