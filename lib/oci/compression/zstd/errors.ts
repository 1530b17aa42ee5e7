import { BangerError } from "../../../base/errors.ts";

/** @param why what is wrong, as the end of a sentence */
export function corruptZstd(why: string): BangerError {
  return new BangerError(
    "corrupt_data",
    `Cannot decompress zstd data: ${why}`,
    "Fetch or make the file again",
  );
}
