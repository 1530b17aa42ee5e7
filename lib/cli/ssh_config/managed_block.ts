import { BangerError } from "../../base/errors.ts";

/** All of both lines: what a user adds to one makes it another line. Exported for tests. */
export const BEGIN =
  "# >>> banger: ssh NAME.vm (banger ssh-config uninstall takes these lines out again) >>>";
/** Exported for tests. */
export const END = "# <<< banger <<<";

/** Text of a file, one character for each byte: what banger does not understand stays as it is. */
export type ByteText = string;

export function byteText(bytes: Uint8Array): ByteText {
  let text = "";
  for (let at = 0; at < bytes.length; at += 8192) {
    text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  }
  return text;
}

export function bytesOf(text: ByteText): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}

export interface FoundBlock {
  /** Offsets in the text; the line break behind the block belongs to it. */
  readonly start: number;
  readonly end: number;
}

/**
 * @returns undefined where the text has no block of ours
 * @throws {BangerError} `corrupt_data` for a block that is not whole, or is there twice: nothing is guessed
 */
export function findBlock(text: ByteText): FoundBlock | undefined {
  const lines = [...text.matchAll(/[^\n]*(?:\n|$)/g)].filter(([line]) => line !== "");
  const at = (marker: string) => lines.filter(([line]) => line.replace(/\r?\n$/, "") === marker);
  const [begins, ends] = [at(BEGIN), at(END)];
  if (begins.length === 0 && ends.length === 0) return undefined;
  const [begin, end] = [begins[0], ends[0]];
  if (begins.length !== 1 || ends.length !== 1 || begin!.index > end!.index) {
    throw new BangerError(
      "corrupt_data",
      "Cannot find banger's lines in the ssh configuration: the first or the last of them was changed",
      `Take out by hand what stands between these two lines, and the lines:\n${BEGIN}\n${END}`,
    );
  }
  return { start: begin!.index, end: end!.index + end![0].length };
}

/** The block as a text with such line breaks has it. */
export function renderBlock(settings: readonly string[], lineBreak: "\n" | "\r\n"): ByteText {
  // What follows it in the file must count for all hosts again, as it did before.
  const lines = [BEGIN, ...settings, "Match all", END];
  return byteText(new TextEncoder().encode(lines.map((line) => `${line}${lineBreak}`).join("")));
}

/** In front of all else, since ssh takes the first value that it finds; or in the place where it was. */
export function withBlock(text: ByteText, settings: readonly string[]): ByteText {
  const found = findBlock(text);
  const block = renderBlock(settings, lineBreakOf(text));
  if (!found) return block + text;
  return text.slice(0, found.start) + block + text.slice(found.end);
}

export function withoutBlock(text: ByteText): ByteText {
  const found = findBlock(text);
  return found ? text.slice(0, found.start) + text.slice(found.end) : text;
}

function lineBreakOf(text: ByteText): "\n" | "\r\n" {
  const first = text.indexOf("\n");
  return first > 0 && text[first - 1] === "\r" ? "\r\n" : "\n";
}
