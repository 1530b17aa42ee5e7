import { BangerError } from "../../base/errors.ts";
import { parseGuestJson } from "./exec.ts";

/** `GET /healthz` */
export interface AgentHealth {
  readonly status: "ok";
  readonly version: string;
  readonly commit: string;
  /** /proc/sys/kernel/random/boot_id: tells one boot of the guest from the next. */
  readonly bootId: string;
  /** Of the guest, at most 10 years. */
  readonly uptimeSeconds: number;
  /** The agent's. */
  readonly pid: number;
}

export const MAX_HEALTH_BYTES = 4096;

const WORD = /^[0-9A-Za-z][0-9A-Za-z.+_-]{0,63}$/;
const BOOT_ID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const TEN_YEARS_SECONDS = 10 * 366 * 86_400;

/**
 * @param payload from the guest: whatever is not as it should be is refused, so the texts can be shown
 * @throws {BangerError} `corrupt_data` naming the field
 */
export function parseHealth(payload: Uint8Array): AgentHealth {
  const { status, version, commit, bootId, uptimeSeconds, pid } = parseGuestJson(
    payload,
    "the agent's health",
  );
  if (status !== "ok") throw wrong("status");
  if (typeof uptimeSeconds !== "number" || !(uptimeSeconds >= 0 && uptimeSeconds < TEN_YEARS_SECONDS)) {
    throw wrong("uptimeSeconds");
  }
  if (typeof pid !== "number" || !Number.isInteger(pid) || pid < 1 || pid >= 2 ** 31) throw wrong("pid");
  return {
    status,
    version: matching(version, WORD, "version"),
    commit: matching(commit, WORD, "commit"),
    bootId: matching(bootId, BOOT_ID, "bootId"),
    uptimeSeconds,
    pid,
  };
}

function matching(value: unknown, pattern: RegExp, field: string): string {
  if (typeof value === "string" && pattern.test(value)) return value;
  throw wrong(field);
}

function wrong(field: string): BangerError {
  return new BangerError("corrupt_data", `Cannot use the agent's health: its ${field} is not as expected`);
}
