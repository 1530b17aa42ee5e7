import type { Files } from "../../base/host.ts";
import { MIB } from "../../base/units.ts";

const READ_BYTES = MIB;

/**
 * A file's bytes from an offset on, through one buffer: each chunk is valid until the next is asked for. Files
 * of many gigabytes cost no more memory than small ones, which `readStream`, whose chunks stay, does not promise.
 */
export async function* readFile(
  files: Pick<Files, "open">,
  path: string,
  offsetBytes = 0,
): AsyncGenerator<Uint8Array> {
  await using file = await files.open(path, { read: true });
  const buffer = new Uint8Array(READ_BYTES);
  for (let at = offsetBytes;;) {
    const length = await file.readAt(buffer, at);
    if (length > 0) yield buffer.subarray(0, length);
    if (length < buffer.length) return;
    at += length;
  }
}
