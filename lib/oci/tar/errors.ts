import { BangerError } from "../../base/errors.ts";

/** @param why what is wrong, as the end of a sentence */
export function corruptTar(why: string): BangerError {
  return new BangerError(
    "corrupt_data",
    `Cannot read the tar archive: ${why}`,
    "Make the archive again, or fetch it again from where it came from",
  );
}
