import { concatBytes } from "../../base/bytes.ts";
import { BangerError } from "../../base/errors.ts";
import { formatBytes } from "../../base/units.ts";

/**
 * Reads all of a body that should be small.
 *
 * @throws {BangerError} `corrupt_data` where it is larger; the rest is not read
 */
export async function readBounded(
  body: AsyncIterable<Uint8Array>,
  maxBytes: number,
  what: string,
): Promise<Uint8Array<ArrayBuffer>> {
  const parts: Uint8Array[] = [];
  let length = 0;
  // Leaving the loop early cancels the body.
  for await (const part of body) {
    length += part.length;
    if (length > maxBytes) {
      throw new BangerError(
        "corrupt_data",
        `Cannot read ${what}: it is larger than ${formatBytes(maxBytes)}`,
      );
    }
    // Its memory may be used again for the next.
    parts.push(part.slice());
  }
  return concatBytes(parts);
}
