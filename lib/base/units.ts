import { BangerError } from "./errors.ts";
import { quote } from "./names.ts";

export const KIB = 1024;
export const MIB = 1024 * KIB;
export const GIB = 1024 * MIB;

const SIZE = /^(\d+(?:\.\d+)?)\s*(b|k|kb|kib|m|mb|mib|g|gb|gib|t|tb|tib)?$/i;
const FACTORS: Record<string, number> = { b: 1, k: KIB, m: MIB, g: GIB, t: 1024 * GIB };

/**
 * A size as people write it: `512M`, `2G`, `1.5GiB`, or plain bytes. Units are powers of 1024.
 *
 * @returns bytes, a safe integer above zero
 * @throws {BangerError} `invalid_argument`
 */
export function parseSizeBytes(text: string): number {
  const match = SIZE.exec(text.trim());
  const bytes = match ? Number(match[1]) * FACTORS[(match[2] ?? "b")[0]!.toLowerCase()]! : NaN;
  if (Number.isFinite(bytes) && bytes >= 1 && bytes <= 2 ** 50) return Math.round(bytes);
  throw new BangerError(
    "invalid_argument",
    `Cannot use ${quote(text)} as a size`,
    "Write a number with a unit, such as 512M or 2G",
  );
}

/** @returns for people: `1.5 GiB`, `512 MiB`, `12 B` */
export function formatBytes(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  const digits = unit === 0 || value >= 100 || Number.isInteger(value) ? 0 : 1;
  return `${value.toFixed(digits)} ${units[unit]}`;
}

const DURATION = /^(\d+(?:\.\d+)?)\s*(s|m|min|h|d|days?|w|weeks?)$/i;
const DURATION_FACTORS: Record<string, number> = { s: 1, m: 60, h: 3600, d: 86_400, w: 604_800 };
const MAX_DURATION_MS = 100 * 365 * 86_400_000;

/**
 * A length of time as people write it: `90s`, `15m`, `12h`, `7d`, `2 weeks`; `0` alone needs no unit.
 *
 * @returns milliseconds, 0 or more
 * @throws {BangerError} `invalid_argument`
 */
export function parseDurationMs(text: string): number {
  if (text.trim() === "0") return 0;
  const match = DURATION.exec(text.trim());
  const ms = match ? Number(match[1]) * DURATION_FACTORS[match[2]![0]!.toLowerCase()]! * 1000 : NaN;
  if (ms <= MAX_DURATION_MS) return Math.round(ms);
  throw new BangerError(
    "invalid_argument",
    `Cannot use ${quote(text)} as a length of time`,
    "Write a number with a unit, such as 90s, 15m, 12h or 7d",
  );
}

/** @returns for people: `0.4 s`, `12 s`, `3 min`, `2 h`, `5 days` */
export function formatDuration(ms: number): string {
  const seconds = ms / 1000;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} days`;
}
