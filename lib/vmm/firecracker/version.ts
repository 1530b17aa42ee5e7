import { BangerError } from "../../base/errors.ts";
import type { Host } from "../../base/host.ts";
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
const VERSION_TIMEOUT_MS = 5000;

/** @throws {BangerError} `host_unsupported` for what is no version, or too old a one */
export function requireSupportedVersion(text: string): Version {
  const version = parseVersion(text);
  const obstacle = obstacleToVersion(text);
  if (version && obstacle === undefined) return version;
  throw new BangerError(
    "host_unsupported",
    `Cannot use Firecracker: ${obstacle}`,
    "Install 1.14.4, 1.15.1 or newer, or choose QEMU: --vmm qemu",
  );
}

/** @returns why this version is not used, for people; undefined where it is */
export function obstacleToVersion(text: string): string | undefined {
  const version = parseVersion(text);
  if (!version) return `its version ${quote(text)} can't be read`;
  const { major, minor, patch } = version;
  const isSupported = major > 1 ||
    (major === 1 && (minor > NEWEST_LISTED_MINOR || patch >= (OLDEST_PATCH.get(minor) ?? Infinity)));
  return isSupported
    ? undefined
    : `version ${major}.${minor}.${patch} has known security holes; 1.14.4 and 1.15.1 do not`;
}

function parseVersion(text: string): Version | undefined {
  const match = /^v?(\d{1,4})\.(\d{1,4})\.(\d{1,4})(?:[-+].*)?$/.exec(text);
  if (!match) return undefined;
  const [major, minor, patch] = match.slice(1).map(Number) as [number, number, number];
  return { major, minor, patch };
}

/**
 * What the program itself says, unchecked: `firecracker --version` begins with `Firecracker v1.16.1`.
 *
 * @returns empty where it says nothing of the kind
 */
export async function readProgramVersion(
  { processes }: Pick<Host, "processes">,
  program: string,
): Promise<string> {
  const { stdout } = await processes.run({ program, args: ["--version"] }, {
    timeoutMs: VERSION_TIMEOUT_MS,
    maxOutputBytes: 4096,
  });
  return /^Firecracker (v?\S+)/.exec(stdout)?.[1] ?? "";
}

/** Known to be there in 1.16, whose description names it. */
export const canReportFreePages = canLimitConsole;

/** Telling the guest its card's MTU came with 1.16. */
export const canSayMtu = canLimitConsole;

/** Limiting the console's rate came with 1.16. */
export function canLimitConsole({ major, minor }: Version): boolean {
  return major > 1 || minor >= 16;
}
