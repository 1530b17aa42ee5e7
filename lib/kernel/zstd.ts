import { BangerError, reasonOf } from "../base/errors.ts";
import { unzstd } from "../oci/compression/zstd/frames.ts";

const FRAME_MAGIC = 0xfd2fb528;

/**
 * Decodes zstd into memory. Checksums in it are not looked at: the package around it has one.
 *
 * @param sizeBytes of the content, which the caller knows from elsewhere and has found acceptable
 * @param what names the input in errors
 * @throws {BangerError} `corrupt_data`, where it has another size too
 */
export async function decodeZstd(
  frame: Uint8Array,
  sizeBytes: number,
  what: string,
): Promise<Uint8Array<ArrayBuffer>> {
  const content = new Uint8Array(sizeBytes);
  let filled = 0;
  try {
    for await (const chunk of unzstd(once(frame))) {
      if (filled + chunk.length > sizeBytes) throw corrupt(what, `it has more than ${sizeBytes} bytes`);
      content.set(chunk, filled);
      filled += chunk.length;
    }
  } catch (failure) {
    throw corrupt(what, `it is damaged (${reasonOf(failure)})`, failure);
  }
  if (filled < sizeBytes) throw corrupt(what, `it has ${filled} bytes, not ${sizeBytes}`);
  return content;
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield await Promise.resolve(bytes);
}

/**
 * What a frame says of its content's size.
 *
 * @throws {BangerError} `corrupt_data` where it says nothing, which files compressed by the zstd tool do
 * Source: RFC 8878, section 3.1.1.1
 */
export function zstdContentBytes(frame: Uint8Array, what: string): number {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  if (frame.length < 18 || view.getUint32(0, true) !== FRAME_MAGIC) {
    throw corrupt(what, "it is no zstd frame");
  }
  const descriptor = frame[4]!;
  const isSingleSegment = (descriptor & 0x20) !== 0;
  const at = 5 + (isSingleSegment ? 0 : 1) + [0, 1, 2, 4][descriptor & 3]!;
  switch (descriptor >> 6) {
    case 0:
      if (isSingleSegment) return frame[at]!;
      throw corrupt(what, "it does not say its size");
    case 1:
      return view.getUint16(at, true) + 256;
    case 2:
      return view.getUint32(at, true);
    default:
      return Number(view.getBigUint64(at, true));
  }
}

function corrupt(what: string, why: string, cause?: unknown): BangerError {
  return new BangerError("corrupt_data", `Cannot unpack ${what}: ${why}`, "Fetch the file again", { cause });
}
