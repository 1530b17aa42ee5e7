import type { Context } from "./command.ts";

const ENTER = 10;
const MAX_ANSWER_BYTES = 100;

/** A question on the terminal. @returns false where there is none to ask on, or the answer is not yes */
export async function confirm({ terminal }: Pick<Context, "terminal">, question: string): Promise<boolean> {
  if (!terminal.stdinIsTerminal || !terminal.stderrIsTerminal) return false;
  await terminal.writeStderr(new TextEncoder().encode(`${question} [y/N] `));
  const answer: number[] = [];
  const byte = new Uint8Array(1);
  while (answer.length < MAX_ANSWER_BYTES && await terminal.readStdin(byte) !== null) {
    if (byte[0] === ENTER) break;
    answer.push(byte[0]!);
  }
  return /^\s*y(es)?\s*$/i.test(String.fromCharCode(...answer));
}
