const ESCAPE = "\u001b";
/** Of a sequence that comes in two pieces. */
const KEPT_LENGTH = 64;
/** Cursor keys, the cursor, alternate screens, mice, what is pasted in brackets. Source: xterm's ctlseqs, "DECSET" */
const MODES = [1, 25, 47, 1000, 1002, 1003, 1004, 1006, 1047, 1049, 2004];
const SHOW_CURSOR = 25;
// deno-lint-ignore no-control-regex -- DEC private modes, set and reset
const MODE_CHANGE = /\u001b\[\?([\d;]+)([hl])/g;

/** Remembers how a program has set the terminal, for those who leave it while it runs. */
export class TerminalModes {
  readonly #changed = new Set<number>();
  #rest = "";

  /** @param bytes on their way to the terminal */
  watch(bytes: Uint8Array): void {
    // Byte by byte: only ASCII counts here.
    const text = this.#rest + new TextDecoder("latin1").decode(bytes);
    for (const [, modes, how] of text.matchAll(MODE_CHANGE)) {
      for (const mode of modes!.split(";").map(Number)) {
        if (!MODES.includes(mode)) continue;
        if ((how === "h") === (mode !== SHOW_CURSOR)) this.#changed.add(mode);
        else this.#changed.delete(mode);
      }
    }
    const last = text.lastIndexOf(ESCAPE);
    this.#rest = last >= 0 && text.length - last < KEPT_LENGTH ? text.slice(last) : "";
  }

  /** What sets the terminal as it was; empty where nothing was changed. */
  undo(): string {
    if (this.#changed.size === 0) return "";
    const modes = [...this.#changed].map((mode) => `${ESCAPE}[?${mode}${mode === SHOW_CURSOR ? "h" : "l"}`);
    return `${modes.join("")}${ESCAPE}[0m`;
  }
}
