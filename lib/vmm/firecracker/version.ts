import { BangerError } from "../../base/errors.ts";
import { quote } from "../../base/names.ts";

export interface Version {
  readonly major: number;
  readonly minor: number;
  readonly patch: number;
}

/**
 * The oldest patch of each minor version that has the fix for CVE-2026-5747; minor versions after the last
 * have it from the start, those before the first never got it.
 */
const OLDEST_PATCH: ReadonlyMap<number, number> = new Map([[14, 4], [15, 1]]);
const NEWEST_LISTED_MINOR = 15;

/** @throws {BangerError} `host_unsupported` for what is no version, or too old a one */
export function requireSupportedVersion(text: string): Version {
  const match = /^v?(\d{1,4})\.(\d{1,4})\.(\d{1,4})(?:[-+].*)?$/.exec(text);
  if (!match) throw tooOld(`its version ${quote(text)} can't be read`);
  const [major, minor, patch] = match.slice(1).map(Number) as [number, number, number];
  const isSupported = major > 1 ||
    (major === 1 && (minor > NEWEST_LISTED_MINOR || patch >= (OLDEST_PATCH.get(minor) ?? Infinity)));
  if (!isSupported) throw tooOld(`version ${major}.${minor}.${patch} has known security holes`);
  return { major, minor, patch };
}

/** Limiting the console's rate came with 1.16. */
export function canLimitConsole({ major, minor }: Version): boolean {
  return major > 1 || minor >= 16;
}

function tooOld(why: string): BangerError {
  return new BangerError(
    "host_unsupported",
    `Cannot use Firecracker: ${why}`,
    "Install 1.14.4, 1.15.1 or newer, or choose QEMU: --vmm qemu",
  );
}
