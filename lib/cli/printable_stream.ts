/** Of a sequence that never ends: it is text then. */
const MAX_SEQUENCE_LENGTH = 64;
/** What stands behind the escape character: a control sequence, a control string, another sequence. */
// deno-lint-ignore no-control-regex
const SEQUENCE = /^(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_][^\u0007\u001b]*(?:\u0007|\u001b\\)|[ -/]*[0-OQ-WYZ\\`-~])/;
/** The one sequence that stays. */
// deno-lint-ignore no-control-regex
const COLOUR = /^\u001b\[[0-9;:]*m$/;
const REPLACEMENT = "\ufffd";

/**
 * Makes text of a guest safe for a terminal, whatever pieces it comes in: lines, tabs and colours stay;
 * everything else that steers a terminal goes.
 *
 * Source: ECMA-48, sections 5.4 (control sequences) and 8.3.117 (SGR)
 */
export class PrintableStream {
  readonly #decoder = new TextDecoder();
  /** An escape sequence that is not complete. */
  #pending = "";

  push(bytes: Uint8Array): string {
    const text = this.#pending + this.#decoder.decode(bytes, { stream: true });
    this.#pending = "";
    let shown = "";
    for (let at = 0; at < text.length;) {
      if (text[at] !== "\u001b") {
        const next = text.indexOf("\u001b", at);
        const end = next < 0 ? text.length : next;
        shown += plain(text.slice(at, end));
        at = end;
        continue;
      }
      const rest = text.slice(at, at + MAX_SEQUENCE_LENGTH);
      const behind = SEQUENCE.exec(rest.slice(1))?.[0];
      const sequence = behind && `\u001b${behind}`;
      if (sequence === undefined && rest.length < MAX_SEQUENCE_LENGTH) {
        this.#pending = text.slice(at);
        break;
      }
      if (sequence && COLOUR.test(sequence)) shown += sequence;
      at += sequence?.length ?? 1;
    }
    return shown;
  }
}

// deno-lint-ignore no-control-regex -- controls and what turns text around are what it removes
const UNSAFE = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

function plain(text: string): string {
  return text.replaceAll(/\r+\n/g, "\n").replaceAll(UNSAFE, REPLACEMENT);
}
