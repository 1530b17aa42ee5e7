import { isElf64 } from "./elf.ts";

const BANNER = new TextEncoder().encode("Linux version ");
const MAX_VERSION_BYTES = 64;

/**
 * What a kernel image says `uname -r` will be: of a bzImage its header's string, of an uncompressed kernel the
 * banner in its data.
 *
 * @returns undefined where it does not say
 * Source: Linux Documentation/arch/x86/boot.rst, field kernel_version
 */
export function kernelImageVersion(image: Uint8Array): string | undefined {
  if (isElf64(image)) {
    const at = indexOf(image, BANNER);
    return at < 0 ? undefined : firstWord(image, at + BANNER.length);
  }
  if (image.length < 0x210) return undefined;
  const pointer = new DataView(image.buffer, image.byteOffset).getUint16(0x20e, true);
  return pointer === 0 ? undefined : firstWord(image, pointer + 0x200);
}

function firstWord(image: Uint8Array, start: number): string | undefined {
  const text = new TextDecoder().decode(image.subarray(start, start + MAX_VERSION_BYTES));
  return /^[A-Za-z0-9][A-Za-z0-9._+~-]*/.exec(text)?.[0];
}

function indexOf(image: Uint8Array, needle: Uint8Array): number {
  for (let at = image.indexOf(needle[0]!); at >= 0; at = image.indexOf(needle[0]!, at + 1)) {
    if (needle.every((byte, index) => image[at + index] === byte)) return at;
  }
  return -1;
}
