import type { Files } from "../base/host.ts";
import { readConsole } from "../guest/relay/console_log.ts";

const MAX_CONSOLE_BYTES = 1024 * 1024;

/** The console's last output, over reboots, as text. Guest output: whoever shows it makes it harmless. */
export async function readConsoleText(
  files: Files,
  path: string,
  maxBytes = MAX_CONSOLE_BYTES,
): Promise<string> {
  return new TextDecoder().decode(await readConsole({ files }, path, maxBytes));
}

/** What was printed since `beginConsole`. */
export async function readBootConsole(files: Files, path: string): Promise<string> {
  return await files.stat(path) ? await files.readText(path, MAX_CONSOLE_BYTES) : "";
}

/** A new boot begins: what was printed before becomes the log's older segment. */
export async function beginConsole(files: Files, path: string): Promise<void> {
  if (await files.stat(path)) await files.rename(path, `${path}.1`);
}

export function lastLines(text: string, count: number): string {
  return text.trim().split("\n").slice(-count).join("\n");
}
