import { visibleLines } from "./output.ts";

/** A guest that never ends its line must not fill our memory. */
const MAX_PENDING_CHARACTERS = 64 * 1024;

/** Makes a live stream of a guest's text harmless, line by line: an escape sequence may come in pieces. */
export class LineCleaner {
  readonly #decoder = new TextDecoder();
  #pending = "";

  /** @returns the whole lines that there are by now */
  push(bytes: Uint8Array): string {
    this.#pending += this.#decoder.decode(bytes, { stream: true });
    const end = this.#pending.lastIndexOf("\n") + 1;
    if (end === 0 && this.#pending.length < MAX_PENDING_CHARACTERS) return "";
    const ready = end === 0 ? this.#pending : this.#pending.slice(0, end);
    this.#pending = this.#pending.slice(ready.length);
    return visibleLines(ready);
  }

  /** @returns what is left, with a line end where there is anything */
  end(): string {
    const rest = visibleLines(this.#pending + this.#decoder.decode());
    this.#pending = "";
    return rest === "" ? "" : `${rest}\n`;
  }
}
