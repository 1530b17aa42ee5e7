import type { Files } from "../base/host.ts";
import { readConsole } from "../guest/relay/console_log.ts";

/** The last lines of a VM's console, as text. Guest output: whoever shows it makes it harmless. */
export async function readConsoleTail(files: Files, path: string, lines: number): Promise<string> {
  const text = new TextDecoder().decode(await readConsole(files, path));
  if (lines === Infinity) return text;
  return text.split("\n").slice(-lines - 1).join("\n").trim();
}
