import { BangerError } from "../base/errors.ts";
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

/** What was printed since `beginConsole`; of more than the limit, the beginning. */
export async function readBootConsole(files: Files, path: string): Promise<string> {
  try {
    await using file = await files.open(path, { read: true });
    const buffer = new Uint8Array(Math.min(await file.sizeBytes(), MAX_CONSOLE_BYTES));
    return new TextDecoder().decode(buffer.subarray(0, await file.readAt(buffer, 0)));
  } catch (thrown) {
    // Not there yet, or just now on its way to be the older segment: a guest that prints much does that often.
    if (thrown instanceof BangerError && thrown.code === "not_found") return "";
    throw thrown;
  }
}

/** A new boot begins: what was printed before becomes the log's older segment. */
export async function beginConsole(files: Files, path: string): Promise<void> {
  if (await files.stat(path)) await files.rename(path, `${path}.1`);
}

export function lastLines(text: string, count: number): string {
  return text.trim().split("\n").slice(-count).join("\n");
}
